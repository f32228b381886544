"""A shadow version against the one that serves: the same counts as NumPy, SciPy's p, and checks that can say no."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone
from scipy import stats

from accounts.models import User
from diagnosis.dashboards.filters import Scope
from diagnosis.dashboards.live_sql import IMAGES
from diagnosis.dashboards.promotion import Comparison, comparisons, promotion_of
from diagnosis.dashboards.sql import PERIODS, rows_of
from diagnosis.dashboards.statistics import mcnemar
from diagnosis.dashboards.summaries import summaries_refresh
from diagnosis.models import ModelVersion, PredictionRun
from diagnosis.services.predictions import model_evaluation_store
from diagnosis.states import ModelStatus, Priority
from tests.conftest import SignedIn
from tests.diagnosis.dashboards.archive import CODES, Archive
from tests.diagnosis.dashboards.reports import report
from tests.factories import ModelVersionFactory

pytestmark = pytest.mark.django_db


def looked_too(version: ModelVersion, archive: Archive, say: Callable[[int, str], str]) -> ModelVersion:
    """This version has looked at every image the archive's version succeeded with, and said something of each."""
    served = PredictionRun.objects.filter(model_version=archive.version, state="succeeded").order_by("pk")
    labels = [(run, say(number, run.label)) for number, run in enumerate(served)]
    PredictionRun.objects.bulk_create(
        PredictionRun(
            image_id=run.image_id,
            model_version=version,
            priority=Priority.BACKFILL,
            state="succeeded",
            finished_at=timezone.now(),
            label=label,
            confidence=0.9,
            probabilities={label: 0.9},
        )
        for run, label in labels
    )
    summaries_refresh()
    return version


@pytest.fixture
def shadow(archive: Archive) -> ModelVersion:
    """Says Pro to each fifth image, else what the serving version said."""
    version = ModelVersionFactory(task=archive.version.task, status=ModelStatus.SHADOW)
    return looked_too(version, archive, lambda number, label: "Pro" if number % 5 == 0 else label)


def compared(version: ModelVersion, scope: Scope) -> dict:
    return comparisons(version, rows_of(scope, PERIODS, IMAGES, version=str(version.pk)))


def expected(archive: Archive, shadow: ModelVersion, *, own: bool) -> Comparison:
    """Counted from the rows themselves, one image after the other."""
    rows = []
    for run in PredictionRun.objects.filter(model_version=shadow).select_related("image"):
        served = run.image.runs.get(model_version=archive.version)
        reading = run.image.readings.order_by("-id").first()
        counts = served.state in ("succeeded", "refused") and reading.finding in CODES
        if counts and (not own or reading.stage == "own"):
            rows.append((run.label, served.label, reading.finding))
    other, serving, truth = (np.array(column) for column in zip(*rows, strict=True))
    a, b = other == truth, serving == truth
    malignant = truth != "Benign"
    return Comparison(
        images=len(rows),
        same=int((other == serving).sum()),
        both=int((a & b).sum()),
        only_other=int((a & ~b).sum()),
        only_serving=int((b & ~a).sum()),
        missed_by_other=int((malignant & (other == "Benign")).sum()),
        missed_by_serving=int((malignant & (serving == "Benign")).sum()),
    )


def test_both_are_counted_on_the_same_images(archive: Archive, shadow: ModelVersion, scope: Scope) -> None:
    found = compared(shadow, scope)
    assert set(found) == {(shadow.pk, archive.version.pk)}
    parts = found[shadow.pk, archive.version.pk]
    assert parts["all"] == expected(archive, shadow, own=False)
    assert parts["own"] == expected(archive, shadow, own=True)
    assert parts["all"].only_serving > 0


def test_the_serving_version_shows_the_same_pair(archive: Archive, shadow: ModelVersion, scope: Scope) -> None:
    assert compared(archive.version, scope) == compared(shadow, scope)


@pytest.mark.parametrize(("one", "other"), [(3, 9), (0, 7), (40, 41), (5, 5), (900, 1010)])
def test_p_is_scipys(one: int, other: int) -> None:
    exact = stats.binomtest(one, one + other).pvalue
    assert mcnemar(one, other) == pytest.approx(exact, rel=1e-9 if one + other <= 1000 else 0.02)


def test_without_a_difference_there_is_no_p() -> None:
    assert mcnemar(0, 0) is None


def answers(version: ModelVersion, scope: Scope) -> list[bool | None]:
    return [check.met for check in promotion_of(version, scope).checks]


def test_too_few_images_cannot_tell(archive: Archive, shadow: ModelVersion, scope: Scope) -> None:
    assert answers(shadow, scope)[:2] == [False, None]
    assert answers(shadow, scope)[3] is None


def test_a_version_that_is_worse_is_told_so(
    archive: Archive, shadow: ModelVersion, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diagnosis.dashboards.promotion.LEAST_COMPARED", 30)
    worse = copy.deepcopy(report())
    worse["protocols"][0]["overall"]["macro_f1"]["value"] -= 0.05
    model_evaluation_store(model_version=archive.version, report=report(), curves=None)
    model_evaluation_store(model_version=shadow, report=worse, curves=None)
    found = answers(shadow, scope)
    assert (found[0], found[1], found[3]) == (True, False, False)


def test_a_version_as_good_passes_every_check(archive: Archive, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diagnosis.dashboards.promotion.LEAST_COMPARED", 30)
    twin = ModelVersionFactory(task=archive.version.task, status=ModelStatus.SHADOW)
    looked_too(twin, archive, lambda number, label: label)
    for version in (archive.version, twin):
        model_evaluation_store(model_version=version, report=report(), curves=None)
    assert answers(twin, scope) == [True, True, True, True]


def test_the_report_is_a_page_with_tables_to_take_away(
    archive: Archive, shadow: ModelVersion, haematologist: User
) -> None:
    client = SignedIn(haematologist)
    shown = client.get(reverse("dashboards:promotion", args=[shadow.pk])).content.decode()
    assert "Cannot be told yet" in shown
    assert "On the same images as the version that served" in shown
    address = reverse("dashboards:promotion_csv", args=[shadow.pk, "side-by-side"])
    assert address in shown
    assert "read before the reveal" in client.get(address).content.decode()
    assert (
        reverse("dashboards:promotion", args=[shadow.pk])
        in client.get(reverse("dashboards:model_facts", args=[shadow.pk])).content.decode()
    )


def test_the_version_that_serves_is_compared_with_nothing(archive: Archive, haematologist: User) -> None:
    address = reverse("dashboards:promotion", args=[archive.version.pk])
    assert "no other version that serves" in SignedIn(haematologist).get(address).content.decode()


def test_live_performance_shows_the_pair_and_says_when_there_is_none(archive: Archive, haematologist: User) -> None:
    shown = SignedIn(haematologist).get(reverse("dashboards:live")).content.decode()
    assert "No other version looked at images of these days" in shown
