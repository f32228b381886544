"""The messages: nudges that may come twice, late, strange or never."""

import datetime
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis
from celery import Task
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.utils import timezone

from accounts.models import User
from diagnosis.models import ModelVersion, PredictionRun, StoredBlob
from diagnosis.services.cases import case_submit
from diagnosis.states import CaseState, RunState
from tests.factories import draft_case, submitted_case
from worker.celery import app
from worker.queues import NUDGES, SWEEPS
from worker.tasks import ENOUGH_NUDGES, drain, nudge, sweep, tidy, watch


@pytest.fixture
def broker() -> Iterator[redis.Redis]:
    """The suite's Redis with both queues empty, before and after."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete(NUDGES, SWEEPS)
        yield client
        client.delete(NUDGES, SWEEPS)


def test_handing_in_a_case_tells_the_workers(
    technician: User, model_version: ModelVersion, broker: redis.Redis
) -> None:
    case = draft_case(technician)
    assert case_submit(case=case, actor=technician) is True
    assert broker.llen(NUDGES) == 1


def test_a_thousand_cases_do_not_pile_up_a_thousand_nudges(broker: redis.Redis) -> None:
    assert all(nudge() for _ in range(ENOUGH_NUDGES * 3))
    assert broker.llen(NUDGES) == ENOUGH_NUDGES


def test_a_case_is_handed_in_though_no_broker_answers(
    technician: User, model_version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    case = draft_case(technician)
    assert case_submit(case=case, actor=technician) is False
    case.refresh_from_db()
    assert case.state == CaseState.SUBMITTED
    assert PredictionRun.objects.filter(state=RunState.QUEUED).count() == 2


def test_a_message_of_another_release_is_understood(technician: User, served: ModelVersion) -> None:
    submitted_case(technician, images=1)
    drain.apply(kwargs={"version": 7, "run": "not-a-uuid"}, throw=True)
    assert PredictionRun.objects.get().state == RunState.SUCCEEDED
    sweep.apply(kwargs={"version": 7}, throw=True)


def test_a_second_delivery_finds_nothing_to_do(technician: User, served: ModelVersion) -> None:
    submitted_case(technician, images=1)
    drain.apply(throw=True)
    first = PredictionRun.objects.values().get()
    drain.apply(throw=True)
    assert PredictionRun.objects.values().get() == first


def test_a_sweep_nudges_while_runs_wait(technician: User, model_version: ModelVersion, broker: redis.Redis) -> None:
    sweep.apply(throw=True)
    assert broker.llen(NUDGES) == 0
    submitted_case(technician, images=1)
    broker.delete(NUDGES)
    sweep.apply(throw=True)
    assert broker.llen(NUDGES) == 1


@pytest.mark.parametrize("task", [sweep, watch, tidy])
def test_sweeps_do_not_queue_behind_nudges(task: Task, broker: redis.Redis) -> None:
    task.delay()
    assert broker.llen(SWEEPS) == 1
    assert broker.llen(NUDGES) == 0


def test_beat_has_stored_files_tidied_once_a_day(technician: User) -> None:
    entry = app.conf.beat_schedule["tidy"]
    kept = draft_case(technician, images=1).images.get()
    old, again = (storages["smears"].save(None, ContentFile(data)) for data in (b"left over", b"sent again"))
    StoredBlob.objects.all().update(created_at=timezone.now() - datetime.timedelta(days=2))
    storages["smears"].save(again, ContentFile(b"sent again"))  # just now: its image is not written yet
    app.tasks[entry["task"]].apply(throw=True)
    left = set(StoredBlob.objects.values_list("pk", flat=True))
    assert left == {kept.sha256, kept.thumbnail_sha256, again}
    assert old not in left

    night = datetime.datetime(2026, 11, 23, 1, 40, tzinfo=datetime.UTC)
    due = entry["schedule"].remaining_delta(night, tz=datetime.UTC)
    assert due[0] + due[1] - night == datetime.timedelta(days=1)


def test_messages_are_json_and_nothing_else() -> None:
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"


def test_what_a_parent_of_workers_imports_has_no_torch() -> None:
    """The parent forks: it must come to that without torch's threads."""
    code = (
        "import sys, worker.celery as w; w.app.loader.import_default_modules(); w.app.finalize();"
        "assert 'worker.drain' in w.app.tasks and 'worker.heartbeat' in sys.modules;"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
