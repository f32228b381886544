"""The pages of the dashboards, and each figure's numbers as CSV."""

from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from accounts.requests import SignedInRequest
from diagnosis.dashboards.access import LIVE, MODELS, OPERATIONS, WORKLOAD, may, requires_one
from diagnosis.dashboards.evaluation import Evaluation, evaluation_groups, evaluation_of
from diagnosis.dashboards.export import figure_csv
from diagnosis.dashboards.facts import model_facts
from diagnosis.dashboards.figures import Group
from diagnosis.dashboards.filters import Filters, filters_of, version_or_404
from diagnosis.dashboards.live import live_groups
from diagnosis.dashboards.operations import operations_groups
from diagnosis.dashboards.promotion import Promotion, promotion_of
from diagnosis.dashboards.summaries import figures_as_of
from diagnosis.models import ModelVersion
from diagnosis.states import ModelStatus


@requires_one(MODELS)
@require_GET
def index(request: SignedInRequest) -> HttpResponse:
    return redirect("dashboards:models")


@requires_one(MODELS)
@require_GET
def models(request: SignedInRequest) -> HttpResponse:
    filters = filters_of(request, model=True, live=False)
    evaluation = _evaluation(filters)
    groups = evaluation_groups(evaluation) if evaluation else []
    names = [str(entry.get("name", "")) for entry in evaluation.protocols] if evaluation else []
    return _page(request, "models", filters, groups, evaluation=evaluation, protocols=names)


@requires_one(MODELS)
@require_GET
def models_csv(request: SignedInRequest, figure_key: str) -> HttpResponse:
    filters = filters_of(request, model=True, live=False)
    evaluation = _evaluation(filters)
    return _csv(evaluation_groups(evaluation) if evaluation else [], figure_key, str(filters.version or ""))


@requires_one(MODELS)
@require_GET
def facts(request: SignedInRequest, version_id: UUID) -> HttpResponse:
    version = version_or_404(version_id)
    context = {
        "version": version,
        "facts": model_facts(version),
        "csv_base": reverse("dashboards:model_facts", args=[version.pk]),
        "compared": may(request.user, LIVE) and version.status in (ModelStatus.SHADOW, ModelStatus.CANDIDATE),
    }
    return render(request, "dashboards/facts.html", context)


@requires_one(MODELS)
@require_GET
def facts_csv(request: SignedInRequest, version_id: UUID, figure_key: str) -> HttpResponse:
    version = version_or_404(version_id)
    made = model_facts(version)
    return _csv([Group("facts", "", [*made.figures, *made.tables])], figure_key, str(version))


@requires_one(LIVE)
@require_GET
def promotion(request: SignedInRequest, version_id: UUID) -> HttpResponse:
    version, filters, report = _promotion(request, version_id)
    context = {
        "version": version,
        "filters": filters,
        "report": report,
        "as_of": figures_as_of(filters.scope.site_ids) if filters.scope else None,
        "csv_base": reverse("dashboards:promotion", args=[version.pk]),
    }
    return render(request, "dashboards/promotion.html", context)


@requires_one(LIVE)
@require_GET
def promotion_csv(request: SignedInRequest, version_id: UUID, figure_key: str) -> HttpResponse:
    version, filters, report = _promotion(request, version_id)
    return _csv([Group("promotion", "", report.figures)], figure_key, f"{version} {_days(filters)}")


def _promotion(request: SignedInRequest, version_id: UUID) -> tuple[ModelVersion, Filters, Promotion]:
    version = version_or_404(version_id)
    filters = filters_of(request, model=False, live=True)
    report = promotion_of(version, filters.scope) if filters.scope else Promotion(None, [], [])
    return version, filters, report


@requires_one(LIVE)
@require_GET
def live(request: SignedInRequest) -> HttpResponse:
    filters = filters_of(request, model=True, live=True)
    return _page(request, "live", filters, _live(filters))


@requires_one(LIVE)
@require_GET
def live_csv(request: SignedInRequest, figure_key: str) -> HttpResponse:
    filters = filters_of(request, model=True, live=True)
    return _csv(_live(filters), figure_key, _days(filters))


@requires_one(OPERATIONS)
@require_GET
def operations(request: SignedInRequest) -> HttpResponse:
    filters = filters_of(request, model=False, live=True)
    return _page(request, "operations", filters, _operations(request, filters))


@requires_one(OPERATIONS)
@require_GET
def operations_csv(request: SignedInRequest, figure_key: str) -> HttpResponse:
    filters = filters_of(request, model=False, live=True)
    return _csv(_operations(request, filters), figure_key, _days(filters))


def _evaluation(filters: Filters) -> Evaluation | None:
    return evaluation_of(filters.version, filters.place) if filters.version else None


def _live(filters: Filters) -> list[Group]:
    if filters.version is None or filters.scope is None:
        return []
    names = {version.pk: str(version) for version in filters.versions}
    return live_groups(filters.version, filters.scope, names)


def _operations(request: SignedInRequest, filters: Filters) -> list[Group]:
    if filters.scope is None:
        return []
    return operations_groups(filters.scope, sites=filters.sites, workload=may(request.user, WORKLOAD))


def _page(request: SignedInRequest, page: str, filters: Filters, groups: list[Group], **more: object) -> HttpResponse:
    tabs = [
        (name, title, f"dashboards:{name}")
        for name, title, permissions in (
            ("models", "Model performance", MODELS),
            ("live", "Live performance", LIVE),
            ("operations", "Operations", OPERATIONS),
        )
        if may(request.user, permissions)
    ]
    context = {
        "page": page,
        "tabs": tabs,
        "filters": filters,
        "groups": groups,
        "csv_base": reverse(f"dashboards:{page}"),
        "as_of": figures_as_of(filters.scope.site_ids) if filters.scope else None,
    }
    return render(request, f"dashboards/{page}.html", context | more)


def _csv(groups: list[Group], figure_key: str, of: str) -> HttpResponse:
    figure = next((figure for group in groups for figure in group.figures if figure.key == figure_key), None)
    if figure is None:
        raise Http404("There is no such figure.")
    response = HttpResponse(figure_csv(figure), content_type="text/csv; charset=utf-8")
    name = "-".join(["leukoscope", figure_key, *of.split()]).replace("/", "-")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _days(filters: Filters) -> str:
    return f"{filters.scope.since} {filters.scope.until}" if filters.scope else ""
