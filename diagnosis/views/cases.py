"""The technician's pages: list, new case, edit, submit, cancel; and the case page everybody shares."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.requests import SignedInRequest, site_of
from diagnosis.errors import ServiceError
from diagnosis.forms import CaseForm, ReasonForm
from diagnosis.models import Case, Patient
from diagnosis.permissions import READ, SUBMIT, VIEW, case_or_404, requires
from diagnosis.selectors.cases import (
    cases_search,
    prior_cases,
    queue_positions_add,
    tat_target,
    technician_sections,
)
from diagnosis.selectors.queue import processing_delayed
from diagnosis.selectors.readings import case_reading
from diagnosis.services.cases import (
    case_cancel,
    case_create,
    case_submit,
    case_update,
    patient_find_or_create,
)
from diagnosis.services.timeline import access_record
from diagnosis.states import EDITABLE_STATES, AccessedKind, CaseState
from diagnosis.views.images import add_uploads


@requires(SUBMIT)
@require_GET
def case_list(request: SignedInRequest) -> HttpResponse:
    template = "diagnosis/cases/_list_body.html" if request.htmx else "diagnosis/cases/list.html"
    sections = technician_sections(request.user)
    waiting = any(case.state == CaseState.SUBMITTED for section in sections for case in section.cases)
    return render(request, template, {"sections": sections, "delayed": waiting and processing_delayed()})


@requires(VIEW)
@require_GET
def search(request: SignedInRequest) -> HttpResponse:
    query = request.GET.get("q", "")[:80]
    return render(request, "diagnosis/cases/search.html", {"query": query, "found": cases_search(request.user, query)})


@requires(SUBMIT)
@require_GET
def patient_lookup(request: SignedInRequest) -> HttpResponse:
    mrn = " ".join(request.GET.get("mrn", "").replace("\0", "").split())
    patient = Patient.objects.filter(site=request.user.site_id, mrn=mrn).first() if mrn else None
    context = {"mrn": mrn, "patient": patient, "case_count": patient.cases.count() if patient else 0}
    return render(request, "diagnosis/patients/_lookup.html", context)


@requires(SUBMIT)
@require_http_methods(["GET", "POST"])
def case_new(request: SignedInRequest) -> HttpResponse:
    site = site_of(request.user)
    form = CaseForm(request.POST or None, site=site)
    if request.method == "POST" and form.is_valid():
        try:
            patient = patient_find_or_create(site=site, **form.patient_values())
            case = case_create(actor=request.user, patient=patient, **form.case_values())
        except ServiceError as error:
            form.add_error(error.field, error.message)
        else:
            return _saved(request, case, created=True)
    return _form_page(request, form, case=None)


@requires(SUBMIT)
@require_http_methods(["GET", "POST"])
def case_edit(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    case = case_or_404(request.user, case_id)
    if case.state not in EDITABLE_STATES:
        messages.info(request, "This case is submitted and cannot be changed any more.")
        return redirect("diagnosis:case_detail", case.pk)
    form = CaseForm(request.POST or None, site=case.site, case=case)
    if request.method == "POST" and form.is_valid():
        try:
            patient = patient_find_or_create(site=case.site, **form.patient_values())
            case = case_update(case=case, actor=request.user, patient=patient, **form.case_values())
        except ServiceError as error:
            form.add_error(error.field, error.message)
        else:
            return _saved(request, case, created=False)
    return _form_page(request, form, case=case)


def _form_page(request: SignedInRequest, form: CaseForm, case: Case | None) -> HttpResponse:
    context = {
        "form": form,
        "case": case,
        "images": case.images.filter(withdrawn_at__isnull=True) if case else [],
    }
    partial = request.headers.get("X-Requested-With") == "fetch"
    template = "diagnosis/cases/_form_fields.html" if partial else "diagnosis/cases/form.html"
    return render(request, template, context, status=422 if form.is_bound else 200)


def _saved(request: SignedInRequest, case: Case, *, created: bool) -> HttpResponse:
    """For the uploader: where to send the images. Without scripts: take the images of the same form and go on."""
    if request.headers.get("X-Requested-With") == "fetch":
        return JsonResponse(_addresses(case), status=201 if created else 200)
    refused = add_uploads(request, case)
    if refused or "submit" not in request.POST:
        return redirect("diagnosis:case_edit", case.pk)
    return _submit(request, case)


def _addresses(case: Case) -> dict[str, str]:
    return {
        "case_id": str(case.pk),
        "case_url": reverse("diagnosis:case_detail", args=[case.pk]),
        "edit_url": reverse("diagnosis:case_edit", args=[case.pk]),
        "upload_url": reverse("diagnosis:image_upload", args=[case.pk]),
        "submit_url": reverse("diagnosis:case_submit", args=[case.pk]),
    }


@requires(SUBMIT)
@require_POST
def case_submit_view(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    return _submit(request, case_or_404(request.user, case_id))


def _submit(request: SignedInRequest, case: Case) -> HttpResponse:
    try:
        told = case_submit(case=case, actor=request.user)
    except ServiceError as error:
        messages.error(request, error.message)
        return redirect("diagnosis:case_edit" if case.state in EDITABLE_STATES else "diagnosis:case_detail", case.pk)
    if told:
        messages.success(request, f"Case {case.accession_number} is submitted.")
    else:
        messages.warning(
            request,
            f"Case {case.accession_number} is submitted and safe. Processing is delayed at the moment.",
        )
    return redirect("diagnosis:case_detail", case.pk)


@requires(SUBMIT)
@require_POST
def case_cancel_view(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    case = case_or_404(request.user, case_id)
    form = ReasonForm(request.POST)
    try:
        if form.is_valid():
            case_cancel(case=case, actor=request.user, reason=form.cleaned_data["reason"])
            messages.success(request, f"Case {case.accession_number} is cancelled.")
        else:
            messages.error(request, "Say why the case is cancelled.")
    except ServiceError as error:
        messages.error(request, error.message)
    return redirect("diagnosis:case_detail", case.pk)


def case_page_context(request: SignedInRequest, case: Case) -> dict[str, Any]:
    """What the case page and its live part show."""
    reading = case_reading(case, request.user)
    if request.user.has_perm(SUBMIT):  # their place in the line is what technicians ask for
        queue_positions_add([case])
    return {
        "case": case,
        "reading": reading,
        "delayed": case.state == CaseState.SUBMITTED and processing_delayed(),
        "live": case.state == CaseState.SUBMITTED,
        "tat_target": tat_target(case),
        "timeline": case.timeline.select_related("actor"),
        "reports": case.reports.select_related("signed_by").defer("content").order_by("-version")
        if case.state == CaseState.SIGNED
        else [],
        "can_submit": request.user.has_perm(SUBMIT),
        "can_read": request.user.has_perm(READ),
        "editable": case.state in EDITABLE_STATES and request.user.has_perm(SUBMIT),
        "cancellable": case.state in (CaseState.DRAFT, CaseState.SUBMITTED, CaseState.AWAITING_REVIEW)
        and request.user.has_perm(SUBMIT),
    }


@requires(VIEW)
@require_GET
def case_detail(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    case = case_or_404(request.user, case_id)
    access_record(user=request.user, case=case, what=AccessedKind.CASE, object_id=case.pk)
    context = case_page_context(request, case) | {"prior_cases": prior_cases(case)}
    return render(request, "diagnosis/cases/detail.html", context)


@requires(VIEW)
@require_GET
def case_status(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    """The live part of the case page."""
    case = case_or_404(request.user, case_id)
    return render(request, "diagnosis/cases/_status.html", case_page_context(request, case))
