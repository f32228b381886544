"""The summaries say what the records say: after every kind of change, for any days, counted bit by bit or at once."""

import datetime
from collections.abc import Iterable

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from accounts.models import Site, User
from diagnosis.dashboards.days import SPANS, periods
from diagnosis.dashboards.filters import Scope, default_days
from diagnosis.dashboards.live import live_groups
from diagnosis.dashboards.operations import operations_groups
from diagnosis.dashboards.summaries import SUMMARIES, summaries_refresh
from diagnosis.models import CountSummary, ModelVersion, PredictionRun, SummaryDue, SummaryState
from diagnosis.services.cases import case_return, case_submit
from diagnosis.services.predictions import model_version_shadow, run_retry
from diagnosis.services.reports import report_amend
from diagnosis.states import Priority, RunState
from tests.conftest import SignedIn
from tests.diagnosis.dashboards.archive import Archive
from tests.diagnosis.dashboards.conftest import Pick
from tests.factories import ModelVersionFactory, case_in_review, end_run, signed_case, submitted_case

pytestmark = pytest.mark.django_db


def lines() -> list[list[tuple]]:
    """All that the summaries hold, without the numbers of the rows."""
    kept = []
    for model in SUMMARIES:
        names = [field.attname for field in model._meta.concrete_fields if field.name != "id"]
        kept.append(sorted(map(str, model._default_manager.values_list(*names))))
    return kept  # type: ignore[return-value]


def counted(measure: str, days: Iterable[datetime.date] | None = None) -> int:
    found = CountSummary.objects.filter(span=1, measure=measure)
    found = found.filter(day__in=days) if days else found
    return sum(found.values_list("n", flat=True))


def test_counting_bit_by_bit_and_all_at_once_come_to_the_same(archive: Archive) -> None:
    archive.fill(40, days=33)
    archive.fill(25, days=61)
    bit_by_bit = lines()
    call_command("summaries_refresh", all=True, verbosity=0)
    assert lines() == bit_by_bit
    assert all(bit_by_bit)


def test_a_second_refresh_finds_nothing_to_do(archive: Archive) -> None:
    before = lines()
    assert summaries_refresh() == 0
    assert not SummaryDue.objects.exists()
    assert lines() == before


def test_a_refresh_that_has_no_time_leaves_its_marks(archive: Archive, technician: User) -> None:
    submitted_case(technician)
    assert summaries_refresh(seconds=0) == 0
    assert SummaryDue.objects.exists()
    assert summaries_refresh() == 1


def test_what_was_submitted_again_is_counted_on_the_new_day_alone(
    technician: User, haematologist: User, model_version: ModelVersion
) -> None:
    case = case_in_review(technician, haematologist)
    case_return(case=case, actor=haematologist, reason="Out of focus.")
    today = timezone.localdate()
    yesterday = today - datetime.timedelta(days=1)
    type(case).objects.filter(pk=case.pk).update(submitted_at=case.submitted_at - datetime.timedelta(days=1))
    summaries_refresh()
    assert (counted("submitted", [yesterday]), counted("submitted", [today]), counted("returned")) == (1, 0, 1)
    case.refresh_from_db()
    case_submit(case=case, actor=technician)
    summaries_refresh()
    assert (counted("submitted", [yesterday]), counted("submitted", [today])) == (0, 1)


def test_a_run_that_is_tried_again_is_no_longer_a_failure(
    technician: User, administrator: User, model_version: ModelVersion
) -> None:
    case = submitted_case(technician, images=1)
    run = PredictionRun.objects.get(image__case=case)
    end_run(run, state=RunState.FAILED)
    summaries_refresh()
    assert (counted("failed"), counted("why_failed")) == (1, 1)
    run_retry(run=PredictionRun.objects.get(pk=run.pk), actor=administrator)
    summaries_refresh()
    assert (counted("failed"), counted("why_failed")) == (0, 0)


def test_an_amendment_changes_the_day_of_the_signature(
    technician: User, haematologist: User, second_haematologist: User, model_version: ModelVersion, pick: Pick
) -> None:
    case = signed_case(technician, haematologist, finding="Early")
    summaries_refresh()
    scope = Scope((case.site_id,), **default_days())
    flips = [row[1] for row in pick(live_groups(model_version, scope), "flips").rows]
    report_amend(case=case, actor=second_haematologist, finding="Pre", comment="", reason="Flow cytometry.")
    assert [row[1] for row in pick(live_groups(model_version, scope), "flips").rows] == flips
    summaries_refresh()
    assert sum(row[1] for row in pick(live_groups(model_version, scope), "flips").rows) == sum(flips) + 1


def test_a_version_that_looks_at_the_archive_later_is_counted_on_the_day_of_the_signature(
    technician: User, haematologist: User, model_version: ModelVersion, pick: Pick
) -> None:
    case = signed_case(technician, haematologist)
    summaries_refresh()
    later = ModelVersionFactory(task=model_version.task, status="candidate")
    scope = Scope((case.site_id,), **default_days())
    assert live_groups(later, scope) == []
    for image in case.images.all():
        run = PredictionRun.objects.create(image=image, model_version=later, priority=Priority.BACKFILL)
        end_run(run, label="Pro")
    summaries_refresh()
    assert sum(row[1] for row in pick(live_groups(later, scope), "outcomes").rows) == case.images.count()


@pytest.mark.parametrize("days", [1, 3, 6, 7, 8, 13, 14, 20, 45, 90, 366])
def test_periods_cover_each_day_once(days: int) -> None:
    for offset in range(7):
        since = datetime.date(2026, 3, 1) + datetime.timedelta(days=offset)
        until = since + datetime.timedelta(days=days - 1)
        spans, first = periods(since, until)
        covered = [
            day + datetime.timedelta(days=place)
            for span, day in zip(spans, first, strict=True)
            for place in range(span)
        ]
        assert sorted(covered) == [since + datetime.timedelta(days=place) for place in range(days)]
        assert all(day.weekday() == 0 for span, day in zip(spans, first, strict=True) if span > 1)
        assert set(spans) <= set(SPANS)
        assert len(spans) <= days // 28 + 18
        assert max(periods(since, until, longest=7)[0]) <= 7


def test_other_targets_or_another_time_zone_count_everything_again(archive: Archive, site: Site) -> None:
    before = lines()
    Site.objects.filter(pk=site.pk).update(tat_target_stat=1, tat_target_urgent=1, tat_target_routine=1)
    summaries_refresh()
    assert counted("within") == 0
    with timezone.override("Pacific/Auckland"):
        summaries_refresh()
    assert lines() != before
    Site.objects.filter(pk=site.pk).update(
        tat_target_stat=site.tat_target_stat,
        tat_target_urgent=site.tat_target_urgent,
        tat_target_routine=site.tat_target_routine,
    )
    summaries_refresh()
    assert lines() == before


def test_sites_do_not_mix(archive: Archive, other_site: Site) -> None:
    scope = Scope((other_site.pk,), **default_days())
    figures = [f for g in operations_groups(scope, sites=[other_site], workload=True) for f in g.figures]
    assert not any(cell for f in figures if f.key == "images-by-day" for row in f.rows for cell in row[1:])


@pytest.mark.parametrize("name", ["live", "operations"])
def test_a_page_says_as_of_when_its_figures_are(name: str, archive: Archive, haematologist: User) -> None:
    shown = SignedIn(haematologist).get(reverse(f"dashboards:{name}")).content.decode()
    at = SummaryState.objects.get(site=archive.site).refreshed_at
    assert f"{at:%H:%M}</time>" in shown
    assert "brought up to date" not in shown
    SummaryState.objects.update(refreshed_at=timezone.now() - datetime.timedelta(hours=1))
    assert (
        "have not been brought up to date"
        in SignedIn(haematologist).get(reverse(f"dashboards:{name}")).content.decode()
    )


def test_a_page_says_that_the_archive_is_still_being_counted(archive: Archive, haematologist: User) -> None:
    SummaryState.objects.update(basis="another")
    summaries_refresh(seconds=0)
    shown = SignedIn(haematologist).get(reverse("dashboards:operations")).content.decode()
    assert "is being counted for the first time" in shown


def test_the_shadow_versions_word_is_kept_beside_that_of_the_one_that_served(
    technician: User, haematologist: User, model_version: ModelVersion
) -> None:
    shadow = ModelVersionFactory(task=model_version.task, status="candidate")
    model_version_shadow(model_version=shadow)
    case = signed_case(technician, haematologist)
    for run in PredictionRun.objects.filter(image__case=case, model_version=shadow):
        end_run(run, label="Pro")
    summaries_refresh()
    found = SUMMARIES[0]._default_manager.filter(span=1, model_version=shadow)
    assert {(row.beside_id, row.label, row.beside_label) for row in found} == {(model_version.pk, "Pro", "Early")}
