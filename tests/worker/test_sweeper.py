"""What beat has done every few seconds."""

import datetime

from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from diagnosis.models import Case, ModelVersion, PredictionRun, WorkerHeartbeat
from diagnosis.selectors.queue import sweeper_alive
from diagnosis.states import CaseState, RunState
from tests.factories import end_run, submitted_case
from worker.sweeper import queue_sweep


def test_it_says_whether_runs_wait(technician: User, model_version: ModelVersion) -> None:
    assert queue_sweep() is False
    submitted_case(technician, images=1)
    assert queue_sweep() is True


def test_it_is_heard_of(db: None) -> None:
    assert not sweeper_alive()
    queue_sweep()
    assert sweeper_alive()


def test_it_moves_on_a_case_whose_worker_died_before_it_could(technician: User, model_version: ModelVersion) -> None:
    done = submitted_case(technician, images=2)
    half_done = submitted_case(technician, images=2)
    for run in PredictionRun.objects.filter(image__case=done):
        end_run(run)
    end_run(PredictionRun.objects.filter(image__case=half_done).first())
    queue_sweep()
    assert Case.objects.get(pk=done.pk).state == CaseState.AWAITING_REVIEW
    assert Case.objects.get(pk=half_done.pk).state == CaseState.SUBMITTED


def test_a_case_whose_last_run_fails_with_its_lease_goes_on_to_its_reader(
    technician: User, model_version: ModelVersion
) -> None:
    case = submitted_case(technician, images=1)
    PredictionRun.objects.update(
        state=RunState.RUNNING,
        attempts=3,
        lease_token=case.pk,
        lease_expires_at=Now() - datetime.timedelta(seconds=1),
        started_at=Now(),
    )
    assert queue_sweep() is False
    assert PredictionRun.objects.get().state == RunState.FAILED
    assert Case.objects.get().state == CaseState.AWAITING_REVIEW


def test_it_forgets_workers_that_are_long_gone(db: None) -> None:
    ago = {"gone": datetime.timedelta(hours=2), "silent": datetime.timedelta(minutes=2)}
    for name, since in ago.items():
        WorkerHeartbeat.objects.create(name=name, seen_at=timezone.now() - since)
    queue_sweep()
    assert set(WorkerHeartbeat.objects.values_list("name", flat=True)) == {"silent", "sweeper"}
