"""Machines whose clocks are hours apart, as when one has its time zone wrong."""

import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.db.models.functions import Now

from diagnosis.models import PredictionRun, TimelineEvent
from diagnosis.states import RunState
from tests.faults.conftest import Laboratory
from tests.faults.test_worker_faults import all_have_one_result, some_results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

AHEAD, BEHIND = "25200", "-21600"
A_WHILE = datetime.timedelta(minutes=15)

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t skew(void) { const char *said = getenv("CLOCK_SKEW"); return said ? atol(said) : 0; }

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, at);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += skew();
    return failed;
}

time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    out->tv_sec = at.tv_sec;
    out->tv_usec = at.tv_nsec / 1000;
    return 0;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec at = *until;
    at.tv_sec -= skew();
    return real(semaphore, &at);
}
"""


@pytest.fixture
def clock(tmp_path: Path) -> str:
    """A library that sets the clock of the process it is loaded into wrong, by CLOCK_SKEW seconds."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler to set one process's clock wrong")
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    shown = [
        float(subprocess.check_output([sys.executable, "-c", "import time; print(time.time())"], env=environment))
        for environment in (dict(os.environ), {**os.environ, "LD_PRELOAD": str(library), "CLOCK_SKEW": AHEAD})
    ]
    assert shown[1] - shown[0] == pytest.approx(int(AHEAD), abs=60)
    return str(library)


def test_clocks_hours_apart_change_nothing(laboratory: Laboratory, clock: str) -> None:
    """A worker seven hours ahead dies in its work; one six hours behind, and a beat, take it up at once."""
    case = laboratory.hand_in(30)
    ahead = {"LD_PRELOAD": clock, "CLOCK_SKEW": AHEAD, "RUN_LEASE_SECONDS": "15", "INFERENCE_BATCH_SIZE": "4"}
    worker = laboratory.start_worker(**ahead)
    laboratory.until(lambda: some_results(1))
    laboratory.kill(worker)
    held = PredictionRun.objects.filter(state=RunState.RUNNING)
    assert held.exists()
    assert not held.filter(lease_expires_at__gt=Now() + datetime.timedelta(seconds=15)).exists()

    laboratory.start_worker(**ahead)
    laboratory.start_beat(LD_PRELOAD=clock, CLOCK_SKEW=BEHIND)
    laboratory.until(lambda: all_have_one_result(case, 30))
    around = {"gte": Now() - A_WHILE, "lte": Now() + datetime.timedelta(minutes=1)}
    for field in ("queued_at", "started_at", "finished_at"):
        assert PredictionRun.objects.filter(**{f"{field}__{k}": at for k, at in around.items()}).count() == 30, field
    moves = TimelineEvent.objects.filter(case=case)
    assert moves.filter(**{f"at__{k}": at for k, at in around.items()}).count() == moves.count()
