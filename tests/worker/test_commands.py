"""register_models and queue_status, as an operator runs them."""

import datetime
import io
import json
import shutil
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from diagnosis.models import ModelVersion, PredictionRun, WorkerHeartbeat
from diagnosis.states import ModelStatus, Priority, RunState
from tests.factories import end_run, submitted_case
from tests.worker.released import write_release
from worker.management.commands.queue_status import duration


@pytest.fixture
def models(tmp_path: Path, released: Path, settings: object) -> Path:
    """A models directory with one sound release, to be spoilt."""
    shutil.copytree(released.parents[1], tmp_path / "models")
    settings.MODELS_DIR = tmp_path / "models"
    return tmp_path / "models"


def register() -> str:
    errors = io.StringIO()
    call_command("register_models", stdout=io.StringIO(), stderr=errors)
    return errors.getvalue()


def test_the_first_version_of_a_task_becomes_active_and_the_next_a_candidate(db: None, models: Path) -> None:
    assert register() == ""
    first = ModelVersion.objects.get()
    assert (str(first), first.status) == ("b-all-stage 0.0.1", ModelStatus.ACTIVE)
    assert [entry["code"] for entry in first.classes] == ["Benign", "Early", "Pre", "Pro"]
    write_release(models, version="0.0.2", seed=1)
    register()
    assert ModelVersion.objects.get(version="0.0.2").status == ModelStatus.CANDIDATE
    first.refresh_from_db()
    assert first.status == ModelStatus.ACTIVE


def test_registering_again_changes_nothing(db: None, models: Path) -> None:
    register()
    before = list(ModelVersion.objects.values())
    register()
    assert list(ModelVersion.objects.values()) == before


def test_weights_with_a_wrong_hash_are_left_out_and_named(db: None, models: Path) -> None:
    with (models / "b-all-stage" / "0.0.1" / "model.safetensors").open("ab") as file:
        file.write(b"!")
    said = register()
    assert "Left out" in said
    assert "model.safetensors" in said
    assert not ModelVersion.objects.exists()


def test_missing_weights_and_a_broken_manifest_are_left_out(db: None, models: Path) -> None:
    place = models / "b-all-stage" / "0.0.1"
    (place / "model.safetensors").unlink()
    (models / "b-all-stage" / "0.0.2").mkdir()
    (models / "b-all-stage" / "0.0.2" / "manifest.json").write_text("{")
    assert register().count("Left out") == 2
    assert not ModelVersion.objects.exists()


def status() -> dict:
    out = io.StringIO()
    call_command("queue_status", "--json", stdout=out)
    return json.loads(out.getvalue())


def test_the_status_of_an_empty_queue(db: None) -> None:
    found = status()
    assert found["queued"] == {"STAT": 0, "Urgent": 0, "Routine": 0, "Backfill": 0}
    assert (found["running"], found["failed"], found["workers"], found["last_error"]) == (0, 0, [], None)
    assert (found["oldest_queued_seconds"], found["images_per_second"]) == (None, None)


def test_the_status_counts_what_waits_runs_ends_and_fails(technician: User, model_version: ModelVersion) -> None:
    submitted_case(technician, images=2, priority=Priority.STAT)
    submitted_case(technician, images=4)
    first, second, third = PredictionRun.objects.filter(priority=Priority.ROUTINE)[:3]
    end_run(first)
    ago = timezone.now() - datetime.timedelta(seconds=90)
    held = {"state": RunState.RUNNING, "attempts": 2, "lease_token": second.pk, "started_at": Now()}
    PredictionRun.objects.filter(pk=second.pk).update(lease_expires_at=ago, **held)
    PredictionRun.objects.filter(pk=third.pk).update(lease_expires_at=ago, **held)
    PredictionRun.objects.filter(pk=third.pk).update(
        state=RunState.FAILED, lease_token=None, lease_expires_at=None, finished_at=Now(), error="It was poison."
    )
    PredictionRun.objects.filter(state=RunState.QUEUED).update(queued_at=ago)
    WorkerHeartbeat.objects.create(
        name="here:1", ready=True, device="cpu", backend="eager-fp32", loaded=["b-all-stage 0.0.1"]
    )
    found = status()
    assert found["queued"] == {"STAT": 2, "Urgent": 0, "Routine": 1, "Backfill": 0}
    assert 89 < found["oldest_queued_seconds"] < 120
    assert (found["running"], found["leases_expired"], found["failed"]) == (1, 1, 1)
    assert found["attempts"] == {"0": 3, "2": 1}
    assert found["finished_in_window"] == 1
    assert found["images_per_second"] > 0
    assert (found["batch_size_mean"], found["batch_size_largest"]) == (1.0, 1)
    assert found["last_error"]["error"] == "It was poison."
    assert found["workers"][0] == {
        "name": "here:1",
        "ready": True,
        "device": "cpu",
        "backend": "eager-fp32",
        "models": ["b-all-stage 0.0.1"],
        "message": "",
    }


def test_it_says_how_many_images_the_workers_take_at_once(technician: User, model_version: ModelVersion) -> None:
    submitted_case(technician, images=8)
    runs = list(PredictionRun.objects.all())
    moment = timezone.now()
    for number, run in enumerate(runs):
        end_run(run)
        began = moment - datetime.timedelta(seconds=1 if number < 5 else 2)
        worker = "here:1" if number < 7 else "there:2"
        PredictionRun.objects.filter(pk=run.pk).update(started_at=began, worker=worker)
    found = status()
    assert (found["batch_size_mean"], found["batch_size_largest"]) == (2.7, 5), "5 and 2 here, 1 there"


def test_the_text_says_what_is_wrong(technician: User, model_version: ModelVersion) -> None:
    submitted_case(technician, images=2)
    WorkerHeartbeat.objects.create(name="here:1", message="b-all-stage 0.0.1: no readable weights.")
    out = io.StringIO()
    call_command("queue_status", stdout=out)
    said = out.getvalue()
    assert "2 Routine" in said
    assert "NOT READY" in said
    assert "no readable weights" in said
    assert "SILENT" in said


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "-"), (3.4, "3 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations_read_well(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said
