"""Claims, leases and what is written back, on the real database."""

import datetime
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from diagnosis.models import ModelVersion, PredictionRun, WorkerHeartbeat
from diagnosis.states import Priority, RunState
from tests.factories import ModelVersionFactory
from worker.claiming import Claim, Result, leases_free, leftovers_free, results_write, runs_claim, runs_give_back

Queue = Callable[..., list[PredictionRun]]
LONG_AGO = datetime.timedelta(hours=1)


def claim(model_version: ModelVersion, limit: int = 16, worker: str = "here:1", **options: bool) -> Claim | None:
    return runs_claim(limit=limit, worker=worker, model_versions=[model_version.pk], **options)


def result(run: PredictionRun, label: str = "Early") -> Result:
    rest = dict.fromkeys(("Benign", "Early", "Pre", "Pro"), 0.1)
    return Result(
        id=str(run.pk),
        state=RunState.SUCCEEDED.value,
        label=label,
        confidence=0.7,
        probabilities={**rest, label: 0.7},
        device="cpu",
        backend="eager-fp32",
    )


def write(claimed: Claim, results: list[Result]) -> int:
    return results_write(claim=claimed, results=results)


def let_lease_end(*runs: PredictionRun) -> None:
    PredictionRun.objects.filter(pk__in=[run.pk for run in runs]).update(
        lease_expires_at=Now() - datetime.timedelta(seconds=1)
    )


def test_it_claims_stat_before_urgent_before_routine_then_the_oldest(
    queue: Queue, model_version: ModelVersion
) -> None:
    routine, later_routine = queue(2, priority=Priority.ROUTINE)
    (urgent,) = queue(1, priority=Priority.URGENT)
    (stat,) = queue(1, priority=Priority.STAT)
    (backfill,) = queue(1)
    PredictionRun.objects.filter(pk=backfill.pk).update(
        priority=Priority.BACKFILL, queued_at=F("queued_at") - LONG_AGO
    )
    PredictionRun.objects.filter(pk=routine.pk).update(queued_at=F("queued_at") - LONG_AGO)
    order = [claim(model_version, limit=1).runs[0].pk for _ in range(5)]
    assert order == [stat.pk, urgent.pk, routine.pk, later_routine.pk, backfill.pk]
    assert claim(model_version) is None


def test_a_stat_image_leads_the_next_batch_however_much_waits(queue: Queue, model_version: ModelVersion) -> None:
    queue(6)
    (stat,) = queue(1, priority=Priority.STAT)
    claimed = claim(model_version, limit=4)
    assert [claimed.runs[0].pk, len(claimed.runs), claimed.full] == [stat.pk, 4, True]


def test_a_claim_is_marked_with_worker_lease_and_attempt(queue: Queue, model_version: ModelVersion) -> None:
    queue(2)
    claimed = claim(model_version, worker="there:7")
    for run in PredictionRun.objects.all():
        assert (run.state, run.attempts, run.worker) == (RunState.RUNNING, 1, "there:7")
        assert run.lease_token == claimed.token
        assert run.started_at is not None


def test_leases_go_by_the_clock_of_the_database(
    queue: Queue, model_version: ModelVersion, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose clock is years off claims for the same time as any other, and frees nobody's lease."""
    settings.RUN_LEASE_SECONDS = 77
    queue(1)
    monkeypatch.setattr(timezone, "now", lambda: datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC))
    monkeypatch.setattr("time.time", lambda: 0.0)
    claim(model_version)
    left = PredictionRun.objects.annotate(left=F("lease_expires_at") - Now()).values_list("left", flat=True).get()
    assert 70 < left.total_seconds() <= 77
    assert leases_free() == []
    assert PredictionRun.objects.get().state == RunState.RUNNING


def test_a_run_that_was_tried_before_is_claimed_alone(queue: Queue, model_version: ModelVersion) -> None:
    tried, *fresh = queue(3)
    PredictionRun.objects.filter(pk=tried.pk).update(attempts=1, queued_at=F("queued_at") - LONG_AGO)
    assert [run.pk for run in claim(model_version).runs] == [tried.pk]
    assert {run.pk for run in claim(model_version).runs} == {run.pk for run in fresh}


def test_a_batch_of_fresh_runs_takes_none_that_was_tried(queue: Queue, model_version: ModelVersion) -> None:
    first, tried, last = queue(3)
    PredictionRun.objects.filter(pk=first.pk).update(queued_at=F("queued_at") - LONG_AGO)
    PredictionRun.objects.filter(pk=tried.pk).update(attempts=2)
    assert {run.pk for run in claim(model_version).runs} == {first.pk, last.pk}


def test_working_ahead_leaves_a_run_that_was_tried_to_be_claimed_alone(
    queue: Queue, model_version: ModelVersion
) -> None:
    tried, _ = queue(2)
    PredictionRun.objects.filter(pk=tried.pk).update(attempts=1, queued_at=F("queued_at") - LONG_AGO)
    assert claim(model_version, fresh_only=True) is None
    assert PredictionRun.objects.filter(state=RunState.QUEUED).count() == 2


def test_it_leaves_the_runs_of_models_this_worker_has_not(queue: Queue, model_version: ModelVersion) -> None:
    queue(1)
    other = ModelVersionFactory(task="another-task")
    assert claim(other) is None
    assert runs_claim(limit=4, worker="here:1", model_versions=[]) is None
    assert claim(model_version) is not None


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_never_claim_the_same_run(queue: Queue, model_version: ModelVersion) -> None:
    """The first holds its rows in an open transaction; the second passes them over without waiting."""
    from django.db import transaction

    queue(6)
    got: dict[str, list[uuid.UUID]] = {}

    def second() -> None:
        got["second"] = [run.pk for run in claim(model_version, limit=4, worker="there:2").runs]
        connection.close()

    with transaction.atomic():
        got["first"] = [run.pk for run in claim(model_version, limit=4).runs]
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=10)
        assert not thread.is_alive(), "it waited for the first"
    assert len(got["first"]) == 4
    assert len(got["second"]) == 2
    assert not set(got["first"]) & set(got["second"])


def test_results_are_written_in_one_statement(
    queue: Queue, model_version: ModelVersion, django_assert_num_queries: Callable
) -> None:
    queue(5)
    claimed = claim(model_version)
    refused = Result(id=str(claimed.runs[0].pk), state=RunState.REFUSED.value, reasons=["blank"])
    with django_assert_num_queries(1):
        assert write(claimed, [refused, *(result(run) for run in claimed.runs[1:])]) == 5
    first, *others = [PredictionRun.objects.get(pk=run.pk) for run in claimed.runs]
    assert (first.state, first.reasons, first.label, first.probabilities) == (RunState.REFUSED, ["blank"], "", None)
    for run in others:
        assert (run.state, run.label, run.confidence) == (RunState.SUCCEEDED, "Early", 0.7)
        assert run.probabilities == {"Benign": 0.1, "Early": 0.7, "Pre": 0.1, "Pro": 0.1}
        assert (run.device, run.backend, run.lease_token) == ("cpu", "eager-fp32", None)
        assert run.finished_at >= run.started_at


def test_a_worker_thought_dead_changes_nothing_when_it_writes_late(queue: Queue, model_version: ModelVersion) -> None:
    (run,) = queue(1)
    stale = claim(model_version, worker="stale:1")
    let_lease_end(run)
    leases_free()
    assert write(stale, [result(run, "Pro")]) == 0, "while the run waits again"
    second = claim(model_version, worker="fresh:2")
    assert write(stale, [result(run, "Pro")]) == 0, "while another works on it"
    assert write(second, [result(run, "Pre")]) == 1
    assert write(stale, [result(run, "Pro")]) == 0, "when another has done it"
    runs_give_back(claim=stale, runs=[run], error="late")
    run.refresh_from_db()
    assert (run.state, run.label, run.error, run.worker) == (RunState.SUCCEEDED, "Pre", run.error, "fresh:2")


def test_writing_twice_changes_nothing_the_second_time(queue: Queue, model_version: ModelVersion) -> None:
    (run,) = queue(1)
    claimed = claim(model_version)
    assert write(claimed, [result(run, "Pre")]) == 1
    assert write(claimed, [result(run, "Pro")]) == 0
    assert PredictionRun.objects.get().label == "Pre"


def test_a_failed_attempt_goes_back_to_the_queue_and_the_third_is_the_last(
    queue: Queue, model_version: ModelVersion
) -> None:
    (run,) = queue(1)
    for attempt in (1, 2, 3):
        runs_give_back(claim=claim(model_version), runs=[run], error=f"reason {attempt}")
        run.refresh_from_db()
        assert run.attempts == attempt
        assert run.state == (RunState.FAILED if attempt == 3 else RunState.QUEUED)
    assert run.error == "reason 3"
    assert run.finished_at is not None


def test_a_lease_that_has_ended_is_freed_and_one_that_holds_is_not(queue: Queue, model_version: ModelVersion) -> None:
    queue(2)
    over = claim(model_version, limit=1).runs[0]
    holds = claim(model_version, limit=1).runs[0]
    let_lease_end(over)
    assert leases_free() == []
    assert PredictionRun.objects.get(pk=over.pk).state == RunState.QUEUED
    assert PredictionRun.objects.get(pk=holds.pk).state == RunState.RUNNING


def test_a_run_whose_last_lease_has_ended_fails_and_says_why(queue: Queue, model_version: ModelVersion) -> None:
    (run,) = queue(1)
    PredictionRun.objects.update(attempts=2)
    claim(model_version)
    let_lease_end(run)
    assert leases_free() == [run]
    run.refresh_from_db()
    assert run.state == RunState.FAILED
    assert "stopped or did not answer" in run.error


@pytest.mark.parametrize(("heard_ago", "freed"), [(5, False), (45, True), (None, True)])
def test_the_runs_of_a_silent_worker_do_not_wait_for_their_lease(
    queue: Queue, model_version: ModelVersion, heard_ago: int | None, freed: bool
) -> None:
    queue(1)
    claim(model_version, worker="here:9")
    PredictionRun.objects.update(started_at=Now() - datetime.timedelta(seconds=40))
    if heard_ago is not None:
        WorkerHeartbeat.objects.create(name="here:9", seen_at=timezone.now() - datetime.timedelta(seconds=heard_ago))
    leases_free()
    assert (PredictionRun.objects.get().state == RunState.QUEUED) == freed


def test_a_claim_just_made_is_kept_though_nobody_was_heard_of_yet(queue: Queue, model_version: ModelVersion) -> None:
    queue(1)
    claim(model_version, worker="new:1")
    leases_free()
    assert PredictionRun.objects.get().state == RunState.RUNNING


def test_a_worker_takes_back_what_it_left_lying_and_nothing_of_others(
    queue: Queue, model_version: ModelVersion
) -> None:
    queue(2)
    own = claim(model_version, limit=1, worker="here:1").runs[0]
    others = claim(model_version, limit=1, worker="here:2").runs[0]
    assert leftovers_free(worker="here:1") == []
    own.refresh_from_db()
    others.refresh_from_db()
    assert (own.state, own.attempts) == (RunState.QUEUED, 1)
    assert others.state == RunState.RUNNING


def test_two_processes_of_one_number_on_machines_of_one_name_are_told_apart() -> None:
    """Containers on the network of their host: each would take the other's claims for its own leftovers."""
    code = (
        "import os, django; django.setup(); from worker.drain import worker_name;"
        "os.getpid = lambda: 8; print(worker_name())"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = {process.communicate(timeout=200)[0].strip() for process in started}
    assert len(names) == 2
    assert all(name.endswith(":8") for name in names)
