"""A worker takes up a faster backend while it serves, and says what it runs and why."""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from accounts.models import User
from diagnosis.models import ModelVersion, PredictionRun, WorkerHeartbeat
from diagnosis.states import RunState
from ml.choosing import Choice
from ml.predictor import Predictor
from portal.views import health_checks
from tests.factories import submitted_case
from worker import backends
from worker.backends import engine_improve, engine_reason, engines_fixed, engines_improve
from worker.drain import queue_drain
from worker.heartbeat import heartbeat_write
from worker.inference import models_load, serving


@pytest.fixture
def own(released: Path) -> Predictor:
    """A predictor that a test may change."""
    return Predictor.load(released, "cpu")


@pytest.fixture(autouse=True)
def nobody_trying(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(backends, "_trying", None)
    yield
    if backends._trying is not None:
        backends._trying.join(timeout=20)


def chosen(predictor: Predictor, name: str = "quick") -> Choice:
    return Choice(dataclasses.replace(predictor.engine, name=name), f"{name} chosen for the test.")


def test_what_is_found_serves_and_its_reason_is_said(
    own: Predictor, registered: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.inference._predictors", {registered.pk: own})
    monkeypatch.setattr(backends, "choose", lambda predictor, *rest: chosen(predictor))
    assert engine_reason(own) == ""
    engine_improve(own, 4)
    now = serving(models_load())
    assert (now.ready, now.backend, now.message) == (True, "quick", f"{registered}: quick chosen for the test.")
    heartbeat_write("somewhere:1", now)
    assert WorkerHeartbeat.objects.get().backend == "quick"
    said = health_checks()["worker"]
    assert said["ok"]
    assert "quick chosen for the test." in said["message"]


def test_a_trial_that_goes_wrong_leaves_the_worker_as_it_was(own: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    before = own.engine

    def choose(*arguments: object) -> Choice:
        raise OSError("disk full")

    monkeypatch.setattr(backends, "choose", choose)
    engine_improve(own, 4)
    assert own.engine is before
    assert "disk full" in engine_reason(own)


def test_each_model_is_tried_once_one_after_the_other(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictors = [Predictor.load(released, "cpu") for _ in range(2)]
    begun, go_on, tried = threading.Event(), threading.Event(), []

    def choose(predictor: Predictor, *rest: object) -> Choice:
        tried.append(predictor)
        begun.set()
        assert go_on.wait(20)
        return chosen(predictor)

    monkeypatch.setattr(backends, "choose", choose)
    engines_improve(predictors, 4)
    assert begun.wait(20)
    engines_improve(predictors, 4)
    assert tried == predictors[:1], "the second waits for the first"
    go_on.set()
    for _ in range(2):
        backends._trying.join(20)
        engines_improve(predictors, 4)
    backends._trying.join(20)
    assert tried == predictors


def test_the_engine_is_not_exchanged_while_a_batch_is_on_it(own: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    before = own.engine
    monkeypatch.setattr(backends, "choose", lambda predictor, *rest: chosen(predictor))
    with engines_fixed:
        engines_improve([own], 4)
        backends._trying.join(0.3)
        assert own.engine is before
    backends._trying.join(20)
    assert own.backend == "quick"


def test_a_run_is_recorded_with_the_backend_that_ran_it(
    technician: User, own: Predictor, registered: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.inference._predictors", {registered.pk: own})
    seen: list[int] = []

    def network(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(len(pictures))
        logits: torch.Tensor = own.net(pictures)
        return logits

    own.engine = dataclasses.replace(own.engine, name="other", network=network)
    submitted_case(technician, images=2)
    while queue_drain():
        pass
    assert seen == [2]
    assert set(PredictionRun.objects.values_list("state", "backend")) == {(RunState.SUCCEEDED, "other")}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("wanted", ["eager", "autocast"])
def test_the_setting_is_followed(own: Predictor, settings: object, tmp_path: Path, wanted: str) -> None:
    settings.INFERENCE_BACKEND, settings.INFERENCE_CACHE_DIR = wanted, tmp_path
    engine_improve(own, 2)
    assert own.backend.startswith(wanted) or "instead of" in engine_reason(own)
