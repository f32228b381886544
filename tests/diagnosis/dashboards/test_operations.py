"""Operations against NumPy on the same rows."""

import datetime
from collections import Counter

import numpy as np
import pytest
from django.utils import timezone

from accounts.models import Site, User
from diagnosis.dashboards.figures import Group
from diagnosis.dashboards.filters import Scope, default_days
from diagnosis.dashboards.operations import operations_groups
from diagnosis.dashboards.summaries import summaries_refresh
from diagnosis.models import Case, ModelVersion, PredictionRun
from diagnosis.services.cases import case_return
from diagnosis.states import Priority, RunState
from tests.diagnosis.dashboards.archive import Archive
from tests.diagnosis.dashboards.conftest import Pick
from tests.factories import case_in_review, end_run, submitted_case

pytestmark = pytest.mark.django_db

STEP = 0.1  # times are counted in steps this wide, and no percentile may be off by more
LABELS = {"STAT": Priority.STAT, "Urgent": Priority.URGENT, "Routine": Priority.ROUTINE}


def made(scope: Scope, site: Site, *, workload: bool = True) -> list[Group]:
    summaries_refresh()
    return operations_groups(scope, sites=[site], workload=workload)


@pytest.fixture
def groups(archive: Archive, scope: Scope, site: Site) -> list[Group]:
    return made(scope, site)


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        ("Submitted → predicted", lambda row: row.prediction),
        ("Predicted → opened", lambda row: row.waiting),
        ("Opened → signed", lambda row: row.reading),
        ("Submitted → signed", lambda row: row.prediction + row.waiting + row.reading),
    ],
)
def test_turnaround_has_numpys_percentiles(
    stage: str, part: object, archive: Archive, groups: list[Group], pick: Pick
) -> None:
    rows = {row[1]: row for row in pick(groups, "turnaround").rows if row[0] == stage}
    for label, priority in LABELS.items():
        took = [part(row) for row in archive.cases if row.priority == priority]  # type: ignore[operator]
        assert rows[label][2] == len(took)
        assert rows[label][3:] == pytest.approx(np.percentile(took, [50, 90, 95]), rel=STEP)


def test_within_the_target_of_the_site(archive: Archive, scope: Scope, site: Site, pick: Pick) -> None:
    Site.objects.filter(pk=site.pk).update(tat_target_stat=5, tat_target_urgent=20, tat_target_routine=60)
    site.refresh_from_db()
    figure = pick(made(scope, site), "targets")
    for row in figure.rows:
        minutes = {"STAT": 5, "Urgent": 20, "Routine": 60}[row[0]]
        took = [c.prediction + c.waiting + c.reading for c in archive.cases if c.priority == LABELS[row[0]]]
        within = sum(seconds <= 60 * minutes for seconds in took)
        assert row[1:] == (len(took), within, within / len(took))
    assert "STAT 5, urgent 20, routine 60 minutes" in figure.note


def test_waiting_and_running_of_images(archive: Archive, groups: list[Group], pick: Pick) -> None:
    for row in pick(groups, "prediction-times").rows:
        images = [i for i in archive.images if i.priority == LABELS[row[0]] and i.state in ("succeeded", "refused")]
        assert row[1] == len(images)
        assert row[2:4] == pytest.approx(np.percentile([i.wait for i in images], [50, 95]), rel=STEP)
        assert row[4:6] == pytest.approx(np.percentile([i.run for i in images], [50, 95]), rel=STEP)


def test_cases_in_and_out_by_day(archive: Archive, groups: list[Group], scope: Scope, pick: Pick) -> None:
    rows = {row[0]: row for row in pick(groups, "cases-by-day").rows}
    submitted = Counter(row.submitted_at.date() for row in archive.cases)
    signed = Counter(row.signed_at.date() for row in archive.cases)
    assert len(rows) == 90
    assert {day: row[1] for day, row in rows.items()} == {day: submitted[day] for day in rows}
    assert {day: row[2] for day, row in rows.items()} == {day: signed[day] for day in rows}


def test_a_day_is_the_laboratorys_day(site: Site, archive: Archive, scope: Scope, pick: Pick) -> None:
    """What was signed at 23:30 UTC was signed on the next day in Auckland."""
    with timezone.override("Pacific/Auckland"):
        rows = pick(made(Scope(scope.site_ids, **default_days()), site), "cases-by-day").rows
        signed = Counter(timezone.localdate(row.signed_at) for row in archive.cases)
    assert {row[0]: row[2] for row in rows} == {row[0]: signed[row[0]] for row in rows}


def test_images_by_day_add_up(archive: Archive, groups: list[Group], pick: Pick) -> None:
    rows = pick(groups, "images-by-day").rows
    states = Counter(row.state for row in archive.images)
    assert [sum(row[place] for row in rows) for place in (1, 2, 3)] == [
        states["succeeded"],
        states["refused"],
        states["failed"],
    ]


def test_failures_and_refusals_by_reason(archive: Archive, groups: list[Group], pick: Pick) -> None:
    found = {(row[0], row[1]): row[2] for row in pick(groups, "problems").rows}
    refused = Counter(row.refusal.replace("_", " ") for row in archive.images if row.refusal)
    failed = Counter(row.error for row in archive.images if row.error)
    expected = {("Refused", reason): n for reason, n in refused.items()}
    assert found == expected | {("Failed", reason): n for reason, n in failed.items()}


def test_the_most_frequent_problem_stands_first(groups: list[Group], pick: Pick) -> None:
    counts = [row[2] for row in pick(groups, "problems").rows]
    assert counts == sorted(counts, reverse=True)


def test_an_image_refused_for_two_reasons_counts_under_both(
    technician: User, model_version: ModelVersion, scope: Scope, site: Site, pick: Pick
) -> None:
    case = submitted_case(technician, images=1)
    run = PredictionRun.objects.get(image__case=case)
    now = timezone.now()
    PredictionRun.objects.filter(pk=run.pk).update(state="running", lease_token=run.pk, lease_expires_at=now)
    PredictionRun.objects.filter(pk=run.pk).update(
        state="refused", lease_token=None, lease_expires_at=None, finished_at=now, reasons=["blurred", "too_dark"]
    )
    rows = pick(made(scope, site), "problems").rows
    assert sorted(row[1] for row in rows) == ["blurred", "too dark"]


def test_workload_by_reader(archive: Archive, groups: list[Group], pick: Pick) -> None:
    found = {row[0]: row for row in pick(groups, "workload").rows}
    # Both readers of the archive bear the same name in this laboratory, and are still two people.
    assert sum(row[1] for row in pick(groups, "workload").rows) == len(archive.cases)
    assert sum(row[2] for row in pick(groups, "workload").rows) == len(archive.images)
    assert sum(row[4] for row in pick(groups, "workload").rows) == sum(c.second_read for c in archive.cases)
    assert len(pick(groups, "workload").rows) == 2
    assert set(found) == {row.reader for row in archive.cases}


def test_workload_names_each_reader(archive: Archive, scope: Scope, site: Site, pick: Pick) -> None:
    User.objects.filter(pk=archive.readers[0].pk).update(first_name="Lin", last_name="Chen")
    User.objects.filter(pk=archive.readers[1].pk).update(first_name="", last_name="")
    found = {row[0]: row[1] for row in pick(made(scope, site), "workload").rows}
    signed = Counter(Case.objects.values_list("signed_by__username", flat=True))
    first, second = (reader.username for reader in archive.readers)
    assert found == {"Lin Chen": signed[first], second: signed[second]}


def test_workload_is_only_for_those_who_may(archive: Archive, scope: Scope, site: Site) -> None:
    keys = [figure.key for group in made(scope, site, workload=False) for figure in group.figures]
    assert "workload" not in keys
    assert "problems" in keys


def test_the_queue_says_how_many_wait_and_how_long(
    technician: User, model_version: ModelVersion, scope: Scope, site: Site, pick: Pick
) -> None:
    submitted_case(technician, images=3, priority=Priority.STAT)
    routine = submitted_case(technician, images=2)
    hour_ago = timezone.now() - datetime.timedelta(hours=1)
    PredictionRun.objects.filter(image__case=routine).update(queued_at=hour_ago)
    rows = {row[0]: row for row in pick(made(scope, site), "queue").rows}
    assert rows["STAT"][1] == 3
    assert rows["STAT"][3] < 60
    assert rows["Routine"][1] == 2
    assert rows["Routine"][3] == pytest.approx(3600, abs=30)
    assert rows["Urgent"][1:] == (0, 0, None)


def test_an_image_that_is_done_is_not_in_the_queue(
    technician: User, model_version: ModelVersion, scope: Scope, site: Site, pick: Pick
) -> None:
    case = submitted_case(technician, images=2)
    end_run(PredictionRun.objects.filter(image__case=case, state=RunState.QUEUED)[0])
    assert {row[0]: row[1] for row in pick(made(scope, site), "queue").rows}["Routine"] == 1


def test_the_queue_of_another_site_is_not_shown(
    technician: User, model_version: ModelVersion, other_site: Site, pick: Pick
) -> None:
    submitted_case(technician)
    figure = pick(made(Scope((other_site.pk,), **default_days()), other_site), "queue")
    assert figure.note == "Nothing waits."


def test_cases_in_hand_by_state_and_priority(
    technician: User, haematologist: User, model_version: ModelVersion, scope: Scope, site: Site, pick: Pick
) -> None:
    submitted_case(technician, priority=Priority.URGENT)
    case_in_review(technician, haematologist)
    returned = case_in_review(technician, haematologist)
    case_return(case=returned, actor=haematologist, reason="Out of focus.")
    groups = made(scope, site)
    rows = {row[0]: row[1:4] for row in pick(groups, "in-hand").rows}
    assert rows["Submitted"] == (0, 1, 0)
    assert rows["In review"] == (0, 0, 1)
    assert rows["Returned"] == (0, 0, 1)
    assert rows["Awaiting review"] == (0, 0, 0)
    assert sum(row[3] for row in pick(groups, "cases-by-day").rows) == 1


def test_an_empty_laboratory_has_its_tables(scope: Scope, site: Site) -> None:
    for group in made(scope, site):
        for figure in group.figures:
            assert figure.cells is not None
