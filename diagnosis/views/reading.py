"""The haematologist's pages: worklist, reading station, sign out."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.requests import SignedInRequest
from diagnosis.charts import suggestion_figure
from diagnosis.errors import ServiceError
from diagnosis.forms import FindingForm, ReasonForm, SignForm, WorklistFilterForm
from diagnosis.models import Case
from diagnosis.permissions import READ, case_or_404, image_or_404, requires
from diagnosis.selectors.cases import prior_cases, readable_next, tat_target, worklist, worklist_counts
from diagnosis.selectors.cells import image_cells
from diagnosis.selectors.predictions import case_model_version
from diagnosis.selectors.readings import case_reading, findings, predictions_revealed, second_read_request
from diagnosis.services.cases import (
    case_ask_second_read,
    case_claim,
    case_return,
    case_take_over,
)
from diagnosis.services.readings import case_conclude, image_read, images_agree_all, own_read_enter
from diagnosis.services.reports import case_sign
from diagnosis.services.timeline import access_record
from diagnosis.states import READING_STATES, AccessedKind, CaseState

WORKLIST_PAGE = 50


@requires(READ)
@require_GET
def worklist_view(request: SignedInRequest) -> HttpResponse:
    form = WorklistFilterForm(request.GET)
    cases = worklist(request.user)
    if form.is_valid():
        if form.cleaned_data["priority"] is not None:
            cases = cases.filter(priority=form.cleaned_data["priority"])
        if form.cleaned_data["state"]:
            cases = cases.filter(state=form.cleaned_data["state"])
        if form.cleaned_data["mine"]:
            cases = cases.filter(reader=request.user)
    page = Paginator(cases, WORKLIST_PAGE).get_page(request.GET.get("page"))
    for case in page:
        case.tat_target = tat_target(case)
    template = "diagnosis/reading/_worklist_body.html" if request.htmx else "diagnosis/reading/worklist.html"
    context = {"page": page, "form": form, "counts": worklist_counts(request.user)}
    return render(request, template, context)


@requires(READ)
@require_POST
def worklist_next(request: SignedInRequest) -> HttpResponse:
    """Start to read the most pressing case that is free; of two readers who ask at once each gets one."""
    for case in readable_next(request.user)[:20]:
        try:
            case_claim(case=case, actor=request.user)
        except ServiceError:
            continue
        return redirect("diagnosis:reading_station", case.pk)
    messages.info(request, "Nothing waits for you at the moment.")
    return redirect("diagnosis:worklist")


@requires(READ)
@require_POST
def case_claim_view(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    case = case_or_404(request.user, case_id)
    try:
        case_claim(case=case, actor=request.user)
    except ServiceError as error:
        messages.error(request, error.message)
        return redirect("diagnosis:case_detail", case.pk)
    return redirect("diagnosis:reading_station", case.pk)


def station_context(request: SignedInRequest, case: Case) -> dict[str, Any]:
    reading = case_reading(case, request.user)
    return {
        "case": case,
        "reading": reading,
        "figure_json": suggestion_figure(reading.suggestion) if reading.suggestion else "",
        "is_reader": case.state in READING_STATES and case.reader_id == request.user.pk,
        "tat_target": tat_target(case),
        "timeline": case.timeline.select_related("actor"),
        "prior_cases": prior_cases(case),
        "second_read_request": second_read_request(case),
    }


@requires(READ)
@require_GET
def reading_station(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    case = case_or_404(request.user, case_id)
    if case.state not in READING_STATES or case.reader_id != request.user.pk:
        return redirect("diagnosis:case_detail", case.pk)
    access_record(user=request.user, case=case, what=AccessedKind.CASE, object_id=case.pk)
    return render(request, "diagnosis/reading/station.html", station_context(request, case))


def _panel(request: SignedInRequest, case: Case, error: str = "") -> HttpResponse:
    """The panel beside the image after a step; without scripts the whole station again."""
    if not request.htmx:
        if error:
            messages.error(request, error)
        return redirect("diagnosis:reading_station", case.pk)
    context = station_context(request, case_or_404(request.user, case.pk)) | {"error": error}
    return render(request, "diagnosis/reading/_panel.html", context, status=422 if error else 200)


def _finding_form(request: SignedInRequest, case: Case) -> FindingForm:
    return FindingForm(request.POST, findings=findings(case_model_version(case)))


def _first_error(form: FindingForm | ReasonForm) -> str:
    return str(next(iter(form.errors.values()))[0])


@requires(READ)
@require_POST
def own_read(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    case = case_or_404(request.user, case_id)
    form = _finding_form(request, case)
    if not form.is_valid():
        return _panel(request, case, _first_error(form))
    values = form.cleaned_data
    try:
        own_read_enter(case=case, actor=request.user, finding=values["finding"], comment=values["comment"])
    except ServiceError as error:
        return _panel(request, case, error.message)
    return _panel(request, case)


@requires(READ)
@require_POST
def image_reading(request: SignedInRequest, case_id: UUID, image_id: UUID) -> HttpResponse:
    image = image_or_404(request.user, case_id, image_id)
    case = case_or_404(request.user, case_id)
    form = _finding_form(request, case)
    if not form.is_valid():
        return _panel(request, case, _first_error(form))
    try:
        image_read(case=case, image=image, actor=request.user, **form.cleaned_data)
    except ServiceError as error:
        return _panel(request, case, error.message)
    return _panel(request, case)


@requires(READ)
@require_GET
def cells(request: SignedInRequest, case_id: UUID, image_id: UUID) -> JsonResponse:
    """Where the model found cells in an image: part of its prediction, so not before that may be seen."""
    image = image_or_404(request.user, case_id, image_id)
    case = case_or_404(request.user, case_id)
    if not predictions_revealed(case, request.user):
        raise PermissionDenied
    return JsonResponse({"cells": image_cells(image, case_model_version(case))})


@requires(READ)
@require_POST
def agree_all(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    case = case_or_404(request.user, case_id)
    try:
        images_agree_all(case=case, actor=request.user)
    except ServiceError as error:
        return _panel(request, case, error.message)
    return _panel(request, case)


@requires(READ)
@require_POST
def conclude(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    case = case_or_404(request.user, case_id)
    form = _finding_form(request, case)
    if not form.is_valid():
        return _panel(request, case, _first_error(form))
    try:
        case_conclude(case=case, actor=request.user, **form.cleaned_data)
    except ServiceError as error:
        return _panel(request, case, error.message)
    return _panel(request, case)


def _with_reason(request: SignedInRequest, case_id: UUID, service: Any, done: str) -> HttpResponse:
    """Carry out a step that needs a reason and leaves the station."""
    case = case_or_404(request.user, case_id)
    form = ReasonForm(request.POST)
    try:
        if not form.is_valid():
            raise ServiceError(_first_error(form))
        service(case=case, actor=request.user, reason=form.cleaned_data["reason"])
    except ServiceError as error:
        messages.error(request, error.message)
        at_work = case.state in READING_STATES and case.reader_id == request.user.pk
        return redirect("diagnosis:reading_station" if at_work else "diagnosis:case_detail", case.pk)
    messages.success(request, done.format(case=case.accession_number))
    case.refresh_from_db()
    if case.state in READING_STATES and case.reader_id == request.user.pk:
        return redirect("diagnosis:reading_station", case.pk)
    return redirect("diagnosis:worklist")


@requires(READ)
@require_POST
def case_return_view(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    return _with_reason(request, case_id, case_return, "Case {case} is returned to the technician.")


@requires(READ)
@require_POST
def second_read(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    return _with_reason(request, case_id, case_ask_second_read, "Case {case} waits for a second reader.")


@requires(READ)
@require_POST
def take_over(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    return _with_reason(request, case_id, case_take_over, "You are now the reader of case {case}.")


@requires(READ)
@require_http_methods(["GET", "POST"])
def sign(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    """What will be signed, and the password that signs it."""
    case = case_or_404(request.user, case_id)
    if case.state == CaseState.SIGNED:
        messages.info(request, f"{case.signed_by} has signed this case.")
        return redirect("diagnosis:case_detail", case.pk)
    form = SignForm(request.POST or None, request=request)
    if request.method == "POST" and form.is_valid():
        try:
            report = case_sign(case=case, actor=request.user)
        except ServiceError as error:
            form.add_error(None, error.message)
        else:
            messages.success(request, f"Case {case.accession_number} is signed.")
            return redirect("diagnosis:report_detail", report.pk)
    context = {"case": case, "form": form, "reading": case_reading(case, request.user)}
    return render(request, "diagnosis/reading/sign.html", context, status=422 if form.is_bound else 200)
