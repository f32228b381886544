"""Drift against NumPy on the same rows, and the alarms it raises."""

import datetime
from typing import Any

import numpy as np
import pytest
from django.core import mail
from django.utils import timezone
from scipy import stats

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.dashboards.alarms import alarms_open, drift_look
from diagnosis.dashboards.drift import Drift, drifts
from diagnosis.dashboards.filters import Scope
from diagnosis.models import DriftAlarm, ModelVersion
from diagnosis.states import ModelStatus
from tests.conftest import SignedIn
from tests.diagnosis.dashboards.archive import CODES, Archive, ImageRow
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def drifted(site: Site, technician: User, haematologist: User, model_version: ModelVersion) -> Archive:
    """Signed up to yesterday's noon, so that the same images lie before and after the cut whatever time it is now."""
    noon = (timezone.now() - datetime.timedelta(days=1)).replace(hour=12)
    return Archive(site, technician, [haematologist], model_version, seed=4).fill(200, until=noon, days=88, drift=True)


def index_of(before: list[float], after: list[float]) -> float:
    p, q = (np.array(counts) + 0.5 for counts in (before, after))
    p, q = p / p.sum(), q / q.sum()
    return float(stats.entropy(p, q) + stats.entropy(q, p))


def halves(archive: Archive, scope: Scope) -> tuple[list[ImageRow], list[ImageRow]]:
    cut = scope.until - datetime.timedelta(days=scope.days // 3)
    inside = [row for row in archive.images if scope.since <= row.signed_at.date() <= scope.until]
    return [row for row in inside if row.signed_at.date() <= cut], [
        row for row in inside if row.signed_at.date() > cut
    ]


def found(archive: Archive, scope: Scope) -> dict[str, Drift]:
    return {entry.measure: entry for entry in drifts(archive.version, scope)}


def test_the_mix_of_classes(drifted: Archive, scope: Scope) -> None:
    before, after = halves(drifted, scope)
    counts = [[sum(row.label == code for row in part) for code in CODES] for part in (before, after)]
    entry = found(drifted, scope)["class"]
    assert (entry.before, entry.after) == (sum(counts[0]), sum(counts[1]))
    assert entry.index == pytest.approx(index_of(*counts))


def test_confidence_in_tenths(drifted: Archive, scope: Scope) -> None:
    parts = [[row.confidence for row in part if row.state == "succeeded"] for part in halves(drifted, scope)]
    counts = [np.histogram(part, bins=np.linspace(0, 1, 11))[0] for part in parts]
    used = (counts[0] + counts[1]) > 0
    assert found(drifted, scope)["confidence"].index == pytest.approx(index_of(counts[0][used], counts[1][used]))


def test_abstention_and_refusal(drifted: Archive, scope: Scope) -> None:
    before, after = halves(drifted, scope)

    def two(part: list[ImageRow], states: tuple[str, ...], hit: object) -> list[int]:
        rows = [row for row in part if row.state in states]
        hits = sum(hit(row) for row in rows)  # type: ignore[operator]
        return [len(rows) - hits, hits]

    uncertain = [two(part, ("succeeded",), lambda row: row.abstained) for part in (before, after)]
    refused = [two(part, ("succeeded", "refused"), lambda row: row.state == "refused") for part in (before, after)]
    entries = found(drifted, scope)
    assert entries["abstention"].index == pytest.approx(index_of(*uncertain))
    assert entries["refusal"].index == pytest.approx(index_of(*refused))


@pytest.mark.parametrize("measure", ["sharpness", "exposure", "stain"])
def test_quality_in_tenths_of_the_images_before(measure: str, drifted: Archive, scope: Scope) -> None:
    """Of the very steps they are counted in; and near to what the raw numbers give."""
    raw = [np.array([row.quality[measure] for row in part]) for part in halves(drifted, scope)]
    step = 1.01 if measure == "exposure" else 1.03
    stepped = [np.floor(np.log(part) / np.log(step)) for part in raw]

    def index(before: np.ndarray, after: np.ndarray) -> float:
        edges = np.quantile(before, np.arange(1, 10) / 10, method="inverted_cdf")
        counts = [np.bincount(np.searchsorted(edges, part, side="right"), minlength=10) for part in (before, after)]
        return index_of(*counts)

    assert found(drifted, scope)[measure].index == pytest.approx(index(*stepped))
    assert found(drifted, scope)[measure].index == pytest.approx(index(*raw), rel=0.1, abs=0.02)


def test_what_has_drifted_is_told_from_what_has_not(drifted: Archive, scope: Scope) -> None:
    levels = {measure: entry.level for measure, entry in found(drifted, scope).items()}
    assert levels["sharpness"] == "alarm"
    assert levels["confidence"] == "alarm"
    assert levels["exposure"] == levels["stain"] == levels["refusal"] == "steady"


def test_a_large_index_that_chance_explains_is_steady() -> None:
    assert Drift("class", 60, 60, index=0.3, by_chance=0.5).level == "steady"
    assert Drift("class", 600, 600, index=0.3, by_chance=0.05).level == "alarm"
    assert Drift("class", 600, 600, index=0.15, by_chance=0.05).level == "watch"
    assert Drift("class", 6000, 6000, index=0.05, by_chance=0.01).level == "steady"


def test_a_few_images_say_nothing(
    site: Site, technician: User, haematologist: User, model_version: ModelVersion, scope: Scope
) -> None:
    few = Archive(site, technician, [haematologist], model_version).fill(20, drift=True)
    assert {entry.level for entry in drifts(few.version, scope)} == {"too few"}


def test_an_alarm_is_raised_once(drifted: Archive) -> None:
    opened = drift_look()
    assert opened >= 2
    assert drift_look() == opened
    assert DriftAlarm.objects.count() == opened
    assert set(DriftAlarm.objects.values_list("measure", flat=True)) >= {"sharpness", "confidence"}


def test_administrators_of_the_site_are_written_to_once(
    drifted: Archive,
    administrator: User,
    haematologist: User,
    other_site: Site,
    django_capture_on_commit_callbacks: Any,
) -> None:
    User.objects.filter(pk=administrator.pk).update(email="ada@lab.example")
    User.objects.filter(pk=haematologist.pk).update(email="hana@lab.example")
    elsewhere = make_user(Role.ADMINISTRATOR, other_site)
    User.objects.filter(pk=elsewhere.pk).update(email="eve@lab.example")
    with django_capture_on_commit_callbacks(execute=True):
        opened = drift_look()
    assert len(mail.outbox) == opened
    assert {address for message in mail.outbox for address in message.to} == {"ada@lab.example"}
    assert any("drift of sharpness" in message.subject for message in mail.outbox)
    with django_capture_on_commit_callbacks(execute=True):
        drift_look()
    assert len(mail.outbox) == opened


def test_mail_that_cannot_be_sent_leaves_the_alarm(
    drifted: Archive, administrator: User, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    User.objects.filter(pk=administrator.pk).update(email="ada@lab.example")
    with django_capture_on_commit_callbacks(execute=True):
        assert drift_look() >= 2


def test_an_alarm_ends_when_the_drift_has_gone(drifted: Archive, site: Site) -> None:
    DriftAlarm.objects.create(model_version=drifted.version, site=site, measure="exposure", index=0.9)
    drift_look()
    assert DriftAlarm.objects.get(measure="exposure").ended_at is not None


def test_alarms_of_a_version_that_is_not_active_end(drifted: Archive) -> None:
    drift_look()
    ModelVersion.objects.filter(pk=drifted.version.pk).update(status=ModelStatus.RETIRED)
    assert drift_look() == 0


def test_alarms_are_kept_within_the_site(
    drifted: Archive, administrator: User, other_site: Site, haematologist: User
) -> None:
    drift_look()
    assert alarms_open(administrator).exists()
    User.objects.filter(pk=administrator.pk).update(site=other_site)
    assert not alarms_open(User.objects.get(pk=administrator.pk)).exists()


def test_administrators_see_the_alarm_on_their_page(drifted: Archive, administrator: User) -> None:
    drift_look()
    page = SignedIn(administrator).get("/administration/").content.decode()
    assert "Drift: Sharpness" in page
    assert "/dashboards/live/" in page


def test_only_signed_cases_can_raise_an_alarm(drifted: Archive, scope: Scope) -> None:
    tomorrow = scope.until + datetime.timedelta(days=1)
    later = Scope(scope.site_ids, tomorrow, tomorrow)
    assert all(entry.before == entry.after == 0 for entry in drifts(drifted.version, later))
