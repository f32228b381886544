"""Who may have what. One function per resource: 404 to those who must not know that it exists (another site's, or
not there), 403 to those who may see it but not do this with it."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.http.response import HttpResponseBase

from accounts.models import User
from accounts.requests import SignedInRequest
from diagnosis.models import Case, Report, SmearImage

SUBMIT = "diagnosis.submit_case"
READ = "diagnosis.read_case"
VIEW = "diagnosis.view_case"

View = Callable[..., HttpResponseBase]


def requires(permission: str) -> Callable[[View], View]:
    """Signed in, of a site and with this permission: otherwise to the sign-in page, or 403.

    Of another laboratory's case even who may not do this anyway is told no more than that there is none.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        @login_required
        def wrapped(request: SignedInRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            user = request.user
            if user.site_id is None or not user.has_perm(VIEW):
                raise PermissionDenied
            if not user.has_perm(permission):
                if "case_id" in kwargs:
                    case_or_404(user, kwargs["case_id"])
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return wrapped

    return decorate


def case_or_404(user: User, case_id: UUID) -> Case:
    """A case of the user's own site."""
    cases = Case.objects.select_related(
        "patient", "site", "camera", "reader", "first_reader", "submitted_by", "signed_by"
    )
    case = cases.filter(pk=case_id, site=user.site_id).first() if user.site_id else None
    if case is None:
        raise Http404("There is no such case.")
    return case


def image_or_404(user: User, case_id: UUID, image_id: UUID) -> SmearImage:
    """An image of a case of the user's own site; one that was withdrawn is there no more."""
    images = SmearImage.objects.select_related("case").filter(withdrawn_at__isnull=True, case__site=user.site_id)
    image = images.filter(pk=image_id, case=case_id).first() if user.site_id else None
    if image is None:
        raise Http404("There is no such image.")
    return image


def report_or_404(user: User, report_id: UUID) -> Report:
    """A report version of a case of the user's own site."""
    reports = Report.objects.select_related("case", "case__patient", "case__site", "signed_by")
    report = reports.filter(pk=report_id, case__site=user.site_id).first() if user.site_id else None
    if report is None:
        raise Http404("There is no such report.")
    return report
