"""Workers that are killed, stopped and joined by others in the middle of the work."""

import signal
from collections import Counter
from typing import Any

import psutil
import pytest
from django.db.models import Min

from diagnosis.models import PredictionRun
from diagnosis.states import RunState
from portal.local.service import Service
from tests.faults.conftest import Laboratory
from tests.faults.test_worker_faults import all_have_one_result, some_results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

KILLS = 20


def in_state(state: RunState) -> set[Any]:
    return set(PredictionRun.objects.filter(state=state).values_list("pk", flat=True))


def claimed_since(claims: set[Any]) -> dict[Any, Any]:
    """What runs under a claim not seen before: a claim outlives the process that made it until it is freed."""
    running = PredictionRun.objects.filter(state=RunState.RUNNING).exclude(lease_token__in=claims)
    return dict(running.values_list("pk", "lease_token"))


def results() -> dict[Any, Any]:
    return dict(PredictionRun.objects.filter(state=RunState.SUCCEEDED).values_list("pk", "finished_at"))


def kill_children(worker: Service) -> None:
    for process in psutil.Process(worker.pid).children(recursive=True):
        process.send_signal(signal.SIGKILL)


def test_twenty_kills_in_the_middle_of_batches_lose_nothing_and_double_nothing(laboratory: Laboratory) -> None:
    worker = laboratory.start_worker(RUN_LEASE_SECONDS="20", RUN_MAX_ATTEMPTS="30", INFERENCE_BATCH_SIZE="4")
    laboratory.start_beat()
    shown = laboratory.draft(6)
    cases, lost, done, claims = [], Counter(), {}, set()
    for _ in range(KILLS):
        cases += laboratory.hand_in_copies(1, of=shown)
        laboratory.until(lambda: claimed_since(claims))
        kill_children(worker)
        hit = claimed_since(claims)
        lost.update(hit.keys())
        claims.update(hit.values())
        done |= results()
    assert sum(lost.values()) >= KILLS // 2, "most kills hit a batch"

    laboratory.until(lambda: all(all_have_one_result(case, 6) for case in cases))
    assert not in_state(RunState.RUNNING)
    attempts = dict(PredictionRun.objects.values_list("pk", "attempts"))
    assert attempts == {pk: 1 + lost[pk] for pk in attempts}
    assert {pk: at for pk, at in results().items() if pk in done} == done, "no result was written over"


def test_a_worker_that_is_asked_to_stop_ends_its_batch_and_leaves_the_rest(laboratory: Laboratory) -> None:
    laboratory.hand_in_copies(4, of=laboratory.draft(25))
    worker = laboratory.start_worker(INFERENCE_BATCH_SIZE="4")
    laboratory.until(lambda: some_results(1))
    worker.stop_seconds = 60
    worker.stop()
    assert not in_state(RunState.RUNNING)
    assert in_state(RunState.QUEUED), "it was stopped in the middle"
    assert set(PredictionRun.objects.filter(state=RunState.SUCCEEDED).values_list("attempts", flat=True)) == {1}
    assert set(PredictionRun.objects.filter(state=RunState.QUEUED).values_list("attempts", flat=True)) == {0}


def test_one_large_case_is_shared_by_all_workers_at_once(laboratory: Laboratory) -> None:
    """It sends one message, and no sweep comes to help."""
    for _ in range(2):
        laboratory.start_worker(INFERENCE_BATCH_SIZE="2")
    laboratory.until(lambda: laboratory.worker_ready(2))
    case = laboratory.hand_in(80)
    laboratory.until(lambda: all_have_one_result(case, 80))
    begun = PredictionRun.objects.values("worker").annotate(at=Min("started_at")).values_list("at", flat=True)
    first, second = sorted(begun)
    assert (second - first).total_seconds() < 4, "before the first one's turn was over"
