"""Lists of cases: the technician's, the worklist, search."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import models as sql
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Collate, Upper
from django.utils import timezone

from accounts.models import Site, User
from diagnosis.models import Case, Patient, PredictionRun, SmearImage
from diagnosis.states import OPEN_RUN_STATES, WORKLIST_STATES, CaseState, Priority, RunState

DONE_SHOWN_DAYS = 7
SECTION_LIMIT = 50
SEARCH_LIMIT = 50
LOOKED_AT = SEARCH_LIMIT + 1


def _count_per_case(images_or_runs: QuerySet, case_path: str, count: sql.Expression) -> Coalesce:
    mine = images_or_runs.filter(**{case_path: OuterRef("pk")}).order_by().values(case_path)
    return Coalesce(Subquery(mine.annotate(n=count).values("n"), output_field=IntegerField()), 0)


def cases_with_counts(cases: QuerySet[Case]) -> QuerySet[Case]:
    """With image_count, images_asked and images_predicted, in the same query.

    An image that several models look at counts once, and as predicted when none of them is still at it.
    """
    shown = PredictionRun.objects.of_cases().filter(image__withdrawn_at__isnull=True)
    runs = shown.exclude(state=RunState.CANCELLED)
    asked = Count("image", distinct=True)
    waiting = Count("image", distinct=True, filter=Q(state__in=OPEN_RUN_STATES))
    return cases.select_related("patient", "site", "reader", "submitted_by").annotate(
        image_count=_count_per_case(SmearImage.objects.filter(withdrawn_at__isnull=True), "case", Count("pk")),
        images_asked=_count_per_case(runs, "image__case", asked),
        images_predicted=_count_per_case(runs, "image__case", asked - waiting),
    )


def cases_of_site(user: User) -> QuerySet[Case]:
    """Every case this user may know of."""
    return Case.objects.filter(site=user.site_id) if user.site_id else Case.objects.none()


@dataclass(frozen=True)
class Section:
    """`more`: there are cases beyond these."""

    key: str
    title: str
    cases: list[Case]
    more: bool


def technician_sections(user: User) -> list[Section]:
    """The technician's own list: what needs them first, then what is under way, then what is done."""
    mine = cases_with_counts(Case.objects.filter(submitted_by=user, site=user.site_id))
    since = timezone.now() - datetime.timedelta(days=DONE_SHOWN_DAYS)
    under_way = (CaseState.SUBMITTED, *WORKLIST_STATES)
    ended = (CaseState.SIGNED, CaseState.CANCELLED)
    sections = [
        _section("needs_you", "Needs you", mine.filter(state=CaseState.RETURNED).order_by("submitted_at")),
        _section("in_progress", "In progress", mine.filter(state__in=under_way).order_by("priority", "submitted_at")),
        _section("drafts", "Drafts", mine.filter(state=CaseState.DRAFT).order_by("-created_at")),
        _section(
            "done",
            f"Done in the last {DONE_SHOWN_DAYS} days",
            mine.filter(state__in=ended, created_at__gte=since).order_by("-created_at"),
        ),
    ]
    queue_positions_add(sections[1].cases)
    return sections


def _section(key: str, title: str, cases: QuerySet[Case]) -> Section:
    found = list(cases[: SECTION_LIMIT + 1])
    return Section(key, title, found[:SECTION_LIMIT], more=len(found) > SECTION_LIMIT)


def queue_positions_add(cases: Iterable[Case]) -> None:
    """Give each submitted case `queue_position` (1 is next) and `eta_seconds` (None where unknown)."""
    waiting = [case for case in cases if case.state == CaseState.SUBMITTED]
    if not waiting:
        return
    ahead = list(
        PredictionRun.objects.of_cases()
        .filter(state__in=OPEN_RUN_STATES)
        .values("image__case")
        .annotate(n=Count("pk"))
        .order_by("image__case__priority", "image__case__submitted_at")
        .values_list("image__case", "n")[:2000]
    )
    per_second = _runs_per_second()
    runs = 0
    places = {}
    for place, (case_id, count) in enumerate(ahead, start=1):
        runs += count
        places[case_id] = (place, round(runs / per_second) if per_second else None)
    for case in waiting:
        case.queue_position, case.eta_seconds = places.get(case.pk, (None, None))


def _runs_per_second() -> float | None:
    """Throughput over the last hundred runs that ended within ten minutes."""
    since = timezone.now() - datetime.timedelta(minutes=10)
    ended = list(
        PredictionRun.objects.filter(finished_at__gte=since, started_at__isnull=False)
        .order_by("-finished_at")
        .values_list("started_at", "finished_at")[:100]
    )
    starts = [start for start, _ in ended if start]
    ends = [end for _, end in ended if end]
    if len(ended) < 2:
        return None
    busy = (max(ends) - min(starts)).total_seconds()
    return len(ended) / busy if busy > 0 else None


def worklist(user: User) -> QuerySet[Case]:
    """What waits for a haematologist of the user's site, most pressing first."""
    cases = cases_of_site(user).filter(state__in=WORKLIST_STATES)
    return cases_with_counts(cases).order_by("worklist_rank", "submitted_at")


def readable_next(user: User) -> QuerySet[Case]:
    """The cases of the worklist that this user could start to read now, in its order."""
    free = Q(state=CaseState.AWAITING_REVIEW) | Q(state=CaseState.SECOND_READ, reader__isnull=True)
    return (
        cases_of_site(user)
        .filter(free)
        .exclude(submitted_by=user)
        .exclude(state=CaseState.SECOND_READ, first_reader=user)
        .order_by("worklist_rank", "submitted_at")
    )


@dataclass(frozen=True)
class WorklistCounts:
    stat: int
    waiting: int
    mine: int


def worklist_counts(user: User) -> WorklistCounts:
    counts = (
        cases_of_site(user)
        .filter(state__in=WORKLIST_STATES)
        .aggregate(
            stat=Count("pk", filter=Q(priority=Priority.STAT)),
            waiting=Count("pk", filter=Q(state=CaseState.AWAITING_REVIEW)),
            mine=Count("pk", filter=Q(reader=user)),
        )
    )
    return WorklistCounts(**counts)


@dataclass(frozen=True)
class Found:
    """`more`: there are cases beyond these."""

    cases: list[Case]
    more: bool = False


def cases_search(user: User, query: str) -> Found:
    """Cases of the site whose MRN or accession number begins with the query: exact hits first, then the newest.

    Of more than SEARCH_LIMIT numbers that begin so the highest are taken, which indexes find whatever the archive
    holds; laboratories count upwards, so those are the newest.
    """
    query = query.strip()
    if not query or "\0" in query:
        return Found([])
    cases = cases_of_site(user)
    numbers = beginning_with(cases, "accession_number", query)
    patients = beginning_with(Patient.objects.filter(site=user.site_id), "mrn", query)
    exact_first = When(Q(accession_number__iexact=query) | Q(patient__mrn__iexact=query), then=0)
    order = (sql.Case(exact_first, default=1), "-created_at")
    of_patients = cases.filter(patient__in=patients).order_by(*order).values_list("pk", flat=True)[:LOOKED_AT]
    ids = {*numbers, *of_patients}
    found = list(cases_with_counts(Case.objects.filter(pk__in=ids)).order_by(*order))
    return Found(found[:SEARCH_LIMIT], more=max(len(found), len(patients)) > SEARCH_LIMIT)


def beginning_with(records: QuerySet, number: str, query: str) -> list[UUID]:
    """The record of this very number, and those of the highest numbers that begin so, in either case of letters."""
    folded = Upper(Value(query))
    numbered = records.annotate(folded=Collate(Upper(number), "C"))
    exact = numbered.filter(folded=folded).values_list("pk", flat=True)[:1]
    begun = numbered.filter(folded__startswith=folded).order_by("-folded").values_list("pk", flat=True)
    return list(dict.fromkeys([*exact, *begun[:LOOKED_AT]]))


def prior_cases(case: Case) -> QuerySet[Case]:
    """Other submitted cases of the same patient, newest first."""
    hidden = (CaseState.DRAFT, CaseState.CANCELLED)
    others = Case.objects.filter(patient=case.patient_id).exclude(pk=case.pk).exclude(state__in=hidden)
    return others.order_by("-submitted_at")[:20]


def duplicate_of(*, site: Site, sha256: str, case: Case) -> Case | None:
    """Another case of the site that holds the same image."""
    return (
        Case.objects.filter(site=site, images__sha256=sha256, images__withdrawn_at__isnull=True)
        .exclude(pk=case.pk)
        .exclude(state=CaseState.CANCELLED)
        .order_by("created_at")
        .first()
    )


def tat_target(case: Case) -> datetime.timedelta:
    """The site's target of turnaround time for a case of this priority."""
    minutes = {
        Priority.STAT: case.site.tat_target_stat,
        Priority.URGENT: case.site.tat_target_urgent,
    }.get(Priority(case.priority), case.site.tat_target_routine)
    return datetime.timedelta(minutes=minutes)
