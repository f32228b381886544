"""The summaries behind the dashboards: counted by beat, read by the pages.

Triggers note the days on which something changed (SummaryDue); a refresh counts exactly those days again, and the
longer spans they lie in. A site is counted from the beginning when it is new here, or when the laboratory's time zone,
the site's targets or the way of counting have changed, by which its days were counted. All of it can be done twice, or
broken off and begun again: a piece is one transaction that takes its marks and counts its days.
"""

import datetime
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Max, Min
from django.utils import timezone

from accounts.models import Site
from diagnosis.dashboards.days import SPANS, first_day, midnight
from diagnosis.dashboards.statistics import STEP
from diagnosis.dashboards.summary_sql import ADDED_UP, COUNTED
from diagnosis.models import Case, CaseSummary, CountSummary, ImageSummary, Reading, SummaryDue, SummaryState

# A piece that beat counts is short, because the worker that counts it predicts nothing meanwhile.
PIECE, LONG_PIECE = datetime.timedelta(days=7), datetime.timedelta(days=91)
LATE = datetime.timedelta(minutes=10)
PLANNED_ANEW = 91  # days
SUMMARIES = (ImageSummary, CaseSummary, CountSummary)
COUNTING = 3  # raised whenever summary_sql counts in another way, so that every laboratory is counted anew


def summaries_refresh(*, seconds: float | None = None) -> int:
    """Count again what has changed, the newest days first; returns how many days that were.

    After `seconds` no further piece is begun; the marks of what is left stay for the next time.
    """
    deadline = time.monotonic() + seconds if seconds is not None else None
    return sum(_site_refresh(site, deadline) for site in Site.objects.all())


def summaries_restart(*, site: Site) -> None:
    """Forget all that was counted of a site and mark each of its days."""
    with transaction.atomic():
        _restart(site, _state(site))


def _site_refresh(site: Site, deadline: float | None) -> int:
    began = timezone.now()
    with transaction.atomic():
        state = _state(site)
        if state.basis != _basis(site):
            _restart(site, state)
    counted = 0
    while deadline is None or time.monotonic() < deadline:
        if not (days := _piece(site, LONG_PIECE if deadline is None else PIECE)):
            SummaryState.objects.filter(pk=site.pk).update(refreshed_at=began)
            break
        counted += days
    if counted > PLANNED_ANEW:
        _analyse()
    return counted


def _analyse() -> None:
    """So that the planner knows of many new lines at once; until autovacuum tells it, it reads them in bad order."""
    with connection.cursor() as cursor:
        for model in SUMMARIES:
            cursor.execute(f"ANALYZE {model._meta.db_table}")


def _state(site: Site) -> SummaryState:
    """The site's state, locked: two refreshes at once would count the same days twice."""
    SummaryState.objects.get_or_create(site=site)
    return SummaryState.objects.select_for_update().get(site=site)


def _basis(site: Site) -> str:
    targets = f"{site.tat_target_stat}/{site.tat_target_urgent}/{site.tat_target_routine}"
    return f"{timezone.get_current_timezone_name()} {targets} {COUNTING}"


def _restart(site: Site, state: SummaryState) -> None:
    for model in SUMMARIES:
        model._default_manager.filter(site=site).delete()
    SummaryState.objects.filter(pk=state.pk).update(basis=_basis(site), refreshed_at=None)
    bounds = Case.objects.filter(site=site).aggregate(first=Min("submitted_at"), last=Max("signed_at"))
    if bounds["first"]:
        first = timezone.localdate(bounds["first"])
        last = max(timezone.localdate(), timezone.localdate(bounds["last"] or bounds["first"]))
        days = (first + datetime.timedelta(days=place) for place in range((last - first).days + 1))
        SummaryDue.objects.bulk_create((SummaryDue(site=site, at=midnight(day)) for day in days), batch_size=1000)


@transaction.atomic
def _piece(site: Site, span: datetime.timedelta) -> int:
    """The newest marked days and those of so long before them; returns how many days were counted."""
    _state(site)
    newest = SummaryDue.objects.filter(site=site).aggregate(newest=Max("at"))["newest"]
    if newest is None:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH taken AS (DELETE FROM diagnosis_summarydue WHERE site_id = %s AND at > %s AND at <= %s RETURNING at)"
            " SELECT DISTINCT (at AT TIME ZONE %s)::date FROM taken ORDER BY 1",
            [site.pk, newest - span, newest, timezone.get_current_timezone_name()],
        )
        days = [row[0] for row in cursor.fetchall()]
    for first, last in _stretches(days):
        _count(site.pk, first, last)
    return len(days)


def _stretches(days: Sequence[datetime.date]) -> list[tuple[datetime.date, datetime.date]]:
    """Days in a row as (first, last); across a gap of a day or two, one count is cheaper than two."""
    found: list[tuple[datetime.date, datetime.date]] = []
    for day in days:
        if found and (day - found[-1][1]).days <= 3:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _count(site_id: UUID, first: datetime.date, last: datetime.date) -> None:
    parameters: dict[str, Any] = {
        "site": site_id,
        "start": midnight(first),
        "end": midnight(last + datetime.timedelta(days=1)),
        "zone": timezone.get_current_timezone_name(),
        "general": list(Reading.GENERAL_CODES),
        "step": STEP,
    }
    for model in SUMMARIES:
        model._default_manager.filter(site=site_id, span=1, day__range=(first, last)).delete()
    with connection.cursor() as cursor:
        for statement in COUNTED:
            cursor.execute(statement, parameters)
    for below, span in itertools.pairwise(sorted(SPANS)):
        _add_up(site_id, first_day(first, span), first_day(last, span), below, span)


def _add_up(site_id: UUID, first: datetime.date, last: datetime.date, below: int, span: int) -> None:
    """The lines of the spans that begin on these days and between, from those of the next shorter kind."""
    given: dict[str, Any] = {"site": site_id, "first": first, "last": last + datetime.timedelta(days=span - 1)}
    for model in SUMMARIES:
        model._default_manager.filter(site=site_id, span=span, day__range=(first, last)).delete()
        with connection.cursor() as cursor:
            cursor.execute(ADDED_UP[model._meta.db_table], given | {"below": below, "span": span})


@dataclass(frozen=True)
class AsOf:
    """How old the figures of a page are; `at` is None while a site is being counted for the first time."""

    at: datetime.datetime | None

    @property
    def late(self) -> bool:
        return self.at is None or timezone.now() - self.at > LATE


def figures_as_of(site_ids: Sequence[UUID]) -> AsOf:
    """The oldest of these sites' figures."""
    found = dict(SummaryState.objects.filter(site__in=site_ids).values_list("site", "refreshed_at"))
    times = [found.get(site_id) for site_id in site_ids]
    known = [at for at in times if at is not None]
    return AsOf(min(known) if known and len(known) == len(times) else None)
