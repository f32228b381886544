"""What a dashboard is asked for. It all stands in the URL, so that a link shows the same figures to somebody else."""

import datetime
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.http import Http404, QueryDict
from django.utils import timezone

from accounts.models import Site
from accounts.requests import SignedInRequest
from diagnosis.dashboards.access import sites_of
from diagnosis.dashboards.days import periods
from diagnosis.models import ModelVersion
from diagnosis.states import ModelStatus

DEFAULT_DAYS = 90
MOST_DAYS = 366


@dataclass(frozen=True)
class Scope:
    """Sites and days that figures are counted over."""

    site_ids: tuple[UUID, ...]
    since: datetime.date
    until: datetime.date

    @property
    def days(self) -> int:
        return (self.until - self.since).days + 1

    def parameters(self) -> dict[str, Any]:
        """For SQL: `sites`, the days in as few spans as can be (`spans`, `days`), and as `since`, `until`."""
        spans, days = periods(self.since, self.until)
        sites = [str(site_id) for site_id in self.site_ids]
        return {"sites": sites, "spans": spans, "days": days, "since": self.since, "until": self.until}


class DatesForm(forms.Form):
    """Days from and to, both included; what is not given is the last ninety days."""

    since = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        until = values.get("until") or timezone.localdate()
        since = values.get("since") or until - datetime.timedelta(days=DEFAULT_DAYS - 1)
        if since > until:
            raise forms.ValidationError("The first day lies after the last one.")
        if (until - since).days >= MOST_DAYS:
            raise forms.ValidationError(f"Choose at most {MOST_DAYS} days.")
        return {"since": since, "until": until}


@dataclass(frozen=True)
class Filters:
    """The filters of a page as they hold, and what else could be chosen."""

    versions: list[ModelVersion]
    version: ModelVersion | None
    sites: list[Site]
    site: Site | None
    scope: Scope | None
    place: int
    errors: list[str]
    query: str

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(version.task for version in self.versions))

    @property
    def versions_of_task(self) -> list[ModelVersion]:
        return [version for version in self.versions if self.version and version.task == self.version.task]


def filters_of(request: SignedInRequest, *, model: bool, live: bool) -> Filters:
    """`model`: a version can be chosen; `live`: sites and days can."""
    versions = versions_offered() if model else []
    version = _version(versions, request.GET) if model else None
    sites = sites_of(request.user) if live else []
    site = _site(sites, request.GET.get("site", ""))
    scope, errors = _scope(request, sites, site) if live else (None, [])
    place = request.GET.get("protocol", "")
    return Filters(
        versions=versions,
        version=version,
        sites=sites,
        site=site,
        scope=scope,
        place=int(place) if place.isdecimal() and len(place) < 4 else 0,
        errors=errors,
        query=urlencode([(key, value) for key, value in request.GET.items() if value]),
    )


def versions_offered() -> list[ModelVersion]:
    """Every version, the active ones first."""
    rank = {ModelStatus.ACTIVE: 0, ModelStatus.SHADOW: 1, ModelStatus.CANDIDATE: 2, ModelStatus.RETIRED: 3}
    versions = ModelVersion.objects.order_by("task", "-registered_at")
    return sorted(versions, key=lambda version: rank[ModelStatus(version.status)])


def version_or_404(version_id: UUID) -> ModelVersion:
    version = ModelVersion.objects.filter(pk=version_id).first()
    if version is None:
        raise Http404("There is no such model version.")
    return version


def _version(versions: list[ModelVersion], given: QueryDict) -> ModelVersion | None:
    """The one asked for if it is of the task asked for, else the task's first, else the first of all."""
    task, wanted = given.get("task", ""), given.get("version", "")
    of_task = [version for version in versions if not task or version.task == task]
    if task and not of_task:
        raise Http404("There is no such task.")
    return next((version for version in of_task if str(version.pk) == wanted), of_task[0] if of_task else None)


def _site(sites: list[Site], wanted: str) -> Site | None:
    """One that the user may see; any other is not there."""
    if not wanted:
        return sites[0] if len(sites) == 1 else None
    site = next((site for site in sites if str(site.pk) == wanted), None)
    if site is None:
        raise Http404("There is no such site.")
    return site


def _scope(request: SignedInRequest, sites: list[Site], site: Site | None) -> tuple[Scope, list[str]]:
    form = DatesForm(request.GET)
    errors = [] if form.is_valid() else [str(message) for messages in form.errors.values() for message in messages]
    days = form.cleaned_data if form.is_valid() else default_days()
    return Scope(tuple(entry.pk for entry in ([site] if site else sites)), **days), errors


def default_days() -> dict[str, datetime.date]:
    """The last ninety days, today included."""
    today = timezone.localdate()
    return {"since": today - datetime.timedelta(days=DEFAULT_DAYS - 1), "until": today}
