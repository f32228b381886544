"""The worker's turn, with the real network on the real database."""

import dataclasses
import io
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from django.db import OperationalError
from PIL import Image

from accounts.models import User
from diagnosis.models import Case, ModelVersion, PredictionRun, StoredBlob
from diagnosis.services.cases import case_submit
from diagnosis.states import CaseState, ModelStatus, RunState, Triage
from ml.decode import decode
from ml.manifest import Manifest
from ml.predictor import Predictor
from tests.factories import ModelVersionFactory, add_image, draft_case, submitted_case
from worker import drain, inference, sweeper
from worker.drain import patiently, queue_drain
from worker.inference import models_load, serving


def work_off() -> None:
    """As many turns as it takes: a busy machine needs more than one."""
    while queue_drain():
        pass


def spoil(run: PredictionRun) -> None:
    StoredBlob.objects.filter(pk=run.image.sha256).update(data=b"\x89PNG no picture", size=16)


def test_it_predicts_what_the_predictor_says_and_moves_the_case_on(
    technician: User, served: ModelVersion, predictor: Predictor
) -> None:
    case = submitted_case(technician, images=3)
    work_off()
    case.refresh_from_db()
    assert case.state == CaseState.AWAITING_REVIEW
    assert case.ready_at is not None
    assert case.triage in (Triage.CRITICAL, Triage.UNCERTAIN, Triage.NONE)
    for image in case.images.all():
        run = image.runs.get()
        with inference.storages["smears"].open(image.sha256) as stored:
            (expected,) = predictor.predict([decode(stored.read())])
        assert (run.state, run.label) == (RunState.SUCCEEDED, expected.label)
        assert run.probabilities == pytest.approx(expected.probabilities, abs=0.02)
        assert run.confidence == max(run.probabilities.values())
        assert (run.device, run.backend) == (predictor.device, predictor.backend)


def test_an_image_that_is_no_smear_is_refused_and_shows_no_class(technician: User, served: ModelVersion) -> None:
    case = submitted_case(technician, images=2)
    run = PredictionRun.objects.first()
    grey = np.full((160, 160, 3), 128, np.uint8)
    StoredBlob.objects.filter(pk=run.image.sha256).update(data=as_png(grey))
    work_off()
    run.refresh_from_db()
    case.refresh_from_db()
    assert (run.state, run.label, run.probabilities) == (RunState.REFUSED, "", None)
    assert run.reasons
    assert case.state == CaseState.AWAITING_REVIEW


def as_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_spoilt_image_fails_after_three_attempts_and_holds_nobody_up(technician: User, served: ModelVersion) -> None:
    case = submitted_case(technician, images=4)
    spoilt = PredictionRun.objects.first()
    spoil(spoilt)
    work_off()
    spoilt.refresh_from_db()
    case.refresh_from_db()
    assert (spoilt.state, spoilt.attempts) == (RunState.FAILED, 3)
    assert "could not be read" in spoilt.error
    others = PredictionRun.objects.exclude(pk=spoilt.pk)
    assert set(others.values_list("state", "attempts")) == {(RunState.SUCCEEDED, 1)}
    assert case.state == CaseState.AWAITING_REVIEW


def test_an_image_whose_bytes_are_gone_fails_alone(technician: User, served: ModelVersion) -> None:
    submitted_case(technician, images=2)
    lost = PredictionRun.objects.first()
    StoredBlob.objects.filter(pk=lost.image.sha256).delete()
    work_off()
    lost.refresh_from_db()
    assert lost.state == RunState.FAILED
    assert PredictionRun.objects.exclude(pk=lost.pk).get().state == RunState.SUCCEEDED


def test_a_batch_the_model_fails_on_is_tried_again_one_by_one(
    technician: User, served: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that dies of one picture, whatever is beside it: the others get their results."""
    submitted_case(technician, images=3)
    poison = PredictionRun.objects.first()
    with inference.storages["smears"].open(poison.image.sha256) as stored:
        deadly = decode(stored.read())
    whole = Predictor.predict

    def predict(self: Predictor, images: list[np.ndarray], batch: int = 16, **scales: object) -> list:
        if any(np.array_equal(image, deadly) for image in images):
            raise RuntimeError("illegal instruction")
        return whole(self, images, batch, **scales)

    monkeypatch.setattr(Predictor, "predict", predict)
    work_off()
    poison.refresh_from_db()
    assert (poison.state, poison.attempts) == (RunState.FAILED, 3)
    assert "illegal instruction" in poison.error
    others = PredictionRun.objects.exclude(pk=poison.pk)
    assert set(others.values_list("state", "attempts")) == {(RunState.SUCCEEDED, 2)}


def test_a_batch_the_device_has_no_memory_for_is_done_in_portions(
    technician: User, served: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted_case(technician, images=5)
    whole = Predictor.predict
    portions = []

    def predict(self: Predictor, images: list[np.ndarray], batch: int = 16, **scales: object) -> list:
        portions.append(len(images))
        if batch > 2:
            raise torch.OutOfMemoryError("of 4 GiB")
        return whole(self, images, batch, **scales)

    monkeypatch.setattr(Predictor, "predict", predict)
    work_off()
    assert portions == [5, 2, 3, 1, 2]
    assert set(PredictionRun.objects.values_list("state", "attempts")) == {(RunState.SUCCEEDED, 1)}


def test_an_image_the_device_has_no_memory_for_is_done_on_the_processor_and_says_so(
    technician: User, served: ModelVersion, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a batch whose other images fit."""
    submitted_case(technician, images=3)
    large = PredictionRun.objects.first()
    with inference.storages["smears"].open(large.image.sha256) as stored:
        too_much = decode(stored.read())
    (expected,) = predictor.predict([too_much])
    monkeypatch.setattr(predictor, "engine", dataclasses.replace(predictor.engine, name="small-gpu"))
    whole = Predictor.predict

    def predict(self: Predictor, images: list[np.ndarray], batch: int = 16, **scales: object) -> list:
        if self is predictor and any(np.array_equal(image, too_much) for image in images):
            raise torch.OutOfMemoryError("of 4 GiB")
        return whole(self, images, batch, **scales)

    monkeypatch.setattr(Predictor, "predict", predict)
    work_off()
    assert set(PredictionRun.objects.values_list("state", "attempts")) == {(RunState.SUCCEEDED, 1)}
    large.refresh_from_db()
    assert (large.device, large.label) == ("cpu", expected.label)
    assert large.probabilities == pytest.approx(expected.probabilities, abs=0.02)
    assert large.backend != "small-gpu"
    assert set(PredictionRun.objects.exclude(pk=large.pk).values_list("backend", flat=True)) == {"small-gpu"}


def test_an_answer_that_is_not_a_number_is_not_written(
    technician: User, served: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted_case(technician, images=1)
    whole = Predictor.answer
    monkeypatch.setattr(
        Predictor, "answer", lambda self, row: dataclasses.replace(whole(self, row), confidence=float("nan"))
    )
    work_off()
    run = PredictionRun.objects.get()
    assert run.state == RunState.FAILED
    assert "not a number" in run.error


@pytest.mark.django_db(transaction=True)
def test_a_backlog_is_worked_on_in_full_batches_with_the_next_one_prepared(
    technician: User, served: ModelVersion, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.INFERENCE_BATCH_SIZE = 2
    prepared = []
    whole = drain.Ahead.prepare
    monkeypatch.setattr(drain.Ahead, "prepare", lambda self: (prepared.append(1), whole(self))[1])
    submitted_case(technician, images=5)
    work_off()
    assert set(PredictionRun.objects.values_list("state", "attempts")) == {(RunState.SUCCEEDED, 1)}
    assert len(prepared) == 2, "behind each of the two full batches, not behind the last one"


@pytest.mark.django_db(transaction=True)
def test_a_turn_that_is_over_leaves_nothing_claimed(
    technician: User, served: ModelVersion, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch that was prepared when the time was up is still done."""
    settings.INFERENCE_BATCH_SIZE = 1
    monkeypatch.setattr(drain, "TURN_SECONDS", 0.05)
    submitted_case(technician, images=6)
    assert queue_drain() is True
    assert not PredictionRun.objects.filter(state=RunState.RUNNING).exists()
    assert PredictionRun.objects.filter(state=RunState.QUEUED).exists()


def test_runs_of_a_version_that_was_replaced_are_still_done(technician: User, registered: ModelVersion) -> None:
    submitted_case(technician, images=1)
    ModelVersion.objects.update(status=ModelStatus.RETIRED)
    work_off()
    assert PredictionRun.objects.get().state == RunState.SUCCEEDED
    assert models_load().predictors == {}, "and then it is forgotten"


def test_a_version_made_active_is_loaded_without_a_restart(served: ModelVersion, released: Path) -> None:
    assert set(models_load().predictors) == {served.pk}
    manifest = Manifest.read(released)
    ModelVersion.objects.update(status=ModelStatus.RETIRED)
    assert models_load().problems == ["No model version is active."]
    newer = ModelVersionFactory(version="0.0.1", task="other", weights_sha256=manifest.weights.sha256)
    (problem,) = models_load().problems
    assert problem.startswith(f"{newer}: no readable manifest")


def test_weights_other_than_those_registered_are_not_served(
    technician: User, registered: ModelVersion, released: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder is sound in itself: its manifest and its weights were exchanged together."""
    ModelVersion.objects.update(weights_sha256="f" * 64)
    submitted_case(technician, images=1)
    with caplog.at_level(logging.ERROR):
        assert queue_drain() is False
    assert "not those registered" in caplog.text
    assert PredictionRun.objects.get().state == RunState.QUEUED
    assert not serving(models_load()).ready


def test_a_broken_manifest_keeps_the_worker_from_work_and_is_named(
    released: Path, registered: ModelVersion, settings: object, tmp_path: Path
) -> None:
    place = tmp_path / "b-all-stage" / "0.0.1"
    place.mkdir(parents=True)
    content = json.loads((released / "manifest.json").read_text())
    del content["temperature"]
    (place / "manifest.json").write_text(json.dumps(content))
    settings.MODELS_DIR = tmp_path
    said = serving(models_load())
    assert not said.ready
    assert "temperature" in said.message


def test_a_model_that_fails_on_a_test_picture_takes_no_run_down(
    technician: User, released: Path, registered: ModelVersion, settings: object, tmp_path: Path
) -> None:
    """Sound by its hashes, but not made for this release: without this every image would fail three times."""
    place = tmp_path / "b-all-stage" / "0.0.1"
    shutil.copytree(released, place)
    content = json.loads((place / "manifest.json").read_text())
    content["refusal"]["thresholds"] = {"of_next_year": 1.0}
    (place / "manifest.json").write_text(json.dumps(content))
    settings.MODELS_DIR = tmp_path
    submitted_case(technician, images=1)
    assert queue_drain() is False
    assert "fails on a test picture" in serving(models_load()).message
    assert PredictionRun.objects.get().state == RunState.QUEUED


def swapped_classes(content: dict) -> None:
    content["classes"][0], content["classes"][1] = content["classes"][1], content["classes"][0]


def colder(content: dict) -> None:
    content["temperature"] = 3.0


@pytest.mark.parametrize(("change", "named"), [(swapped_classes, "classes"), (colder, "temperature")])
def test_sound_weights_under_another_manifest_are_not_served(
    technician: User,
    released: Path,
    registered: ModelVersion,
    settings: object,
    tmp_path: Path,
    change: Callable[[dict], None],
    named: str,
) -> None:
    """The classes in another order, for instance: every prediction would be another one."""
    place = tmp_path / "b-all-stage" / "0.0.1"
    shutil.copytree(released, place)
    content = json.loads((place / "manifest.json").read_text())
    change(content)
    (place / "manifest.json").write_text(json.dumps(content))
    settings.MODELS_DIR = tmp_path
    submitted_case(technician, images=1)
    assert queue_drain() is False
    assert f"{named} in its manifest on disk is not what was registered" in serving(models_load()).message
    assert PredictionRun.objects.get().state == RunState.QUEUED


def test_a_case_that_cannot_be_moved_on_holds_up_no_other(
    technician: User, served: ModelVersion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, *others = [submitted_case(technician, images=1) for _ in range(3)]
    whole = sweeper.case_advance

    def advance(*, case: Case, **pooling: object) -> bool:
        if case.pk == stuck.pk:
            raise KeyError("a class nobody knows")
        return whole(case=case, **pooling)

    monkeypatch.setattr(sweeper, "case_advance", advance)
    work_off()
    states = dict(Case.objects.values_list("pk", "state"))
    assert {states[case.pk] for case in others} == {CaseState.AWAITING_REVIEW}
    assert sweeper.queue_sweep() is False
    assert str(stuck.pk) in caplog.text
    monkeypatch.undo()
    sweeper.queue_sweep()
    stuck.refresh_from_db()
    assert stuck.state == CaseState.AWAITING_REVIEW


@pytest.mark.parametrize(("images", "told"), [(2, 0), (5, 1)])
def test_a_worker_that_finds_a_full_batch_wakes_another_once_a_turn(
    technician: User,
    served: ModelVersion,
    settings: object,
    monkeypatch: pytest.MonkeyPatch,
    images: int,
    told: int,
) -> None:
    settings.INFERENCE_BATCH_SIZE = 3
    nudges = []
    monkeypatch.setattr(drain, "nudge", lambda: nudges.append(1))
    monkeypatch.setattr(drain, "TURN_SECONDS", 600.0)
    submitted_case(technician, images=images)
    queue_drain()
    assert len(nudges) == told


def test_results_wait_for_a_database_that_is_away_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.drain.connection", Away())
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    tries = iter([OperationalError("restarting"), OperationalError("restarting"), 3])

    def write() -> int:
        if isinstance(this := next(tries), OperationalError):
            raise this
        return this

    assert patiently(write) == 3


def test_results_do_not_wait_for_a_database_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.drain.connection", Away())
    monkeypatch.setattr(drain, "DATABASE_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def write() -> int:
        raise OperationalError("gone")

    with pytest.raises(OperationalError, match="gone"):
        patiently(write)


class Away:
    """A connection outside of any transaction, to a database that is not there."""

    in_atomic_block = False

    def close(self) -> None:
        pass


def test_the_same_picture_twice_in_a_batch_gets_the_same_answer(technician: User, served: ModelVersion) -> None:
    cases = [draft_case(technician, images=0) for _ in range(2)]
    for case in cases:
        add_image(case, seed=11)
    for case in cases:
        case_submit(case=case, actor=technician)
    work_off()
    first, second = PredictionRun.objects.all()
    assert first.probabilities == pytest.approx(second.probabilities, abs=1e-3)
