"""A laboratory with a past, and the figures of a page by their key."""

from collections.abc import Callable

import pytest
from django.utils import timezone

from accounts.models import Site, User
from diagnosis.dashboards.figures import Figure, Group
from diagnosis.dashboards.filters import Scope, default_days
from diagnosis.models import ModelVersion
from diagnosis.services.predictions import model_evaluation_store
from tests.diagnosis.dashboards.archive import Archive
from tests.diagnosis.dashboards.reports import curves, report


@pytest.fixture
def archive(
    site: Site, technician: User, haematologist: User, second_haematologist: User, model_version: ModelVersion
) -> Archive:
    """80 signed cases of 3 images each within the last 80 days."""
    return Archive(site, technician, [haematologist, second_haematologist], model_version, seed=3).fill(80)


@pytest.fixture
def scope(site: Site) -> Scope:
    return Scope((site.pk,), **default_days())


@pytest.fixture
def evaluated(model_version: ModelVersion) -> ModelVersion:
    model_evaluation_store(model_version=model_version, report=report(), curves=curves())
    return model_version


@pytest.fixture
def today() -> str:
    return timezone.localdate().isoformat()


Pick = Callable[[list[Group], str], Figure]


@pytest.fixture
def pick() -> Pick:
    """The one figure with this key."""

    def picked(groups: list[Group], key: str) -> Figure:
        (found,) = [figure for group in groups for figure in group.figures if figure.key == key]
        return found

    return picked
