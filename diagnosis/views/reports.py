"""A signed report, its versions, and amending it."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from accounts.requests import SignedInRequest
from diagnosis.errors import ServiceError
from diagnosis.forms import AmendForm
from diagnosis.permissions import READ, VIEW, case_or_404, report_or_404, requires
from diagnosis.selectors.predictions import case_model_version
from diagnosis.selectors.readings import findings
from diagnosis.services.reports import report_amend
from diagnosis.services.timeline import access_record
from diagnosis.states import AccessedKind, CaseState


@requires(VIEW)
@require_GET
def report_detail(request: SignedInRequest, report_id: UUID) -> HttpResponse:
    report = report_or_404(request.user, report_id)
    access_record(user=request.user, case=report.case, what=AccessedKind.REPORT, object_id=report.pk)
    versions = report.case.reports.select_related("signed_by").order_by("-version")
    context = {
        "report": report,
        "case": report.case,
        "content": report.content,
        "versions": versions,
        "latest": versions[0],
        "can_amend": request.user.has_perm(READ) and report.case.submitted_by_id != request.user.pk,
    }
    return render(request, "diagnosis/reports/detail.html", context)


@requires(READ)
@require_http_methods(["GET", "POST"])
def amend(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    case = case_or_404(request.user, case_id)
    if case.state != CaseState.SIGNED:
        messages.info(request, "Only a signed case has a report to amend.")
        return redirect("diagnosis:case_detail", case.pk)
    choices = findings(case_model_version(case))
    report = case.reports.latest("version")
    said = report.content["conclusion"]
    initial = {"finding": said["code"], "comment": said["comment"]}
    form = AmendForm(request.POST or None, findings=choices, request=request, initial=initial)
    if request.method == "POST" and form.is_valid():
        values = {name: form.cleaned_data[name] for name in ("finding", "comment", "reason")}
        try:
            report = report_amend(case=case, actor=request.user, **values)
        except ServiceError as error:
            form.add_error(error.field, error.message)
        else:
            messages.success(request, f"The report of case {case.accession_number} is amended.")
            return redirect("diagnosis:report_detail", report.pk)
    context = {"case": case, "form": form, "report": report}
    return render(request, "diagnosis/reports/amend.html", context, status=422 if form.is_bound else 200)
