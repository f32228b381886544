"""A released model, loaded once for all tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import call_command

from accounts.models import User
from diagnosis.models import ModelVersion, PredictionRun
from ml.predictor import Predictor
from tests.factories import submitted_case
from tests.worker.released import write_release
from worker import inference


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of one released version."""
    return write_release(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def predictor(released: Path) -> Predictor:
    return Predictor.load(released)


@pytest.fixture
def registered(released: Path, settings: object, db: None) -> ModelVersion:
    """The released version, registered and active, not loaded yet."""
    settings.MODELS_DIR = released.parents[1]
    call_command("register_models", verbosity=0)
    return ModelVersion.objects.get()


@pytest.fixture
def served(registered: ModelVersion, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> ModelVersion:
    """The released version, loaded already."""
    monkeypatch.setattr(inference, "_predictors", {registered.pk: predictor})
    return registered


@pytest.fixture
def queue(technician: User, model_version: ModelVersion) -> Callable[..., list[PredictionRun]]:
    """Queue the runs of a new case; no worker has to have the model."""

    def make(images: int = 1, **values: object) -> list[PredictionRun]:
        case = submitted_case(technician, images, **values)
        return list(PredictionRun.objects.filter(image__case=case).order_by("queued_at", "id"))

    return make
