"""Who may open which dashboard, and whose figures it then shows.

How a model was evaluated is for everyone who signs in. What it does here (live) is for those who read and those who
administer. How the laboratory runs (operations) is also for technicians, without the workload of single readers.
The border of a site holds for figures as for cases: only an administrator who looks after all sites sees several.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse

from accounts.models import Site, User
from accounts.requests import SignedInRequest
from diagnosis.permissions import READ, VIEW

ADMINISTER = "diagnosis.view_modelversion"
ALL_SITES = "accounts.add_site"
MODELS: tuple[str, ...] = ()
LIVE = (READ, ADMINISTER)
OPERATIONS = (VIEW, ADMINISTER)
WORKLOAD = (READ, ADMINISTER)

View = Callable[..., HttpResponse]


def may(user: User, permissions: tuple[str, ...]) -> bool:
    """Whether the user has one of them; none at all asks for nothing but being signed in."""
    return not permissions or any(user.has_perm(permission) for permission in permissions)


def requires_one(permissions: tuple[str, ...]) -> Callable[[View], View]:
    """Signed in and with one of these permissions: otherwise to the sign-in page, or 403."""

    def decorate(view: View) -> View:
        @wraps(view)
        @login_required
        def wrapped(request: SignedInRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not may(request.user, permissions):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return wrapped

    return decorate


def sites_of(user: User) -> list[Site]:
    """The sites whose figures this user may see; without one of their own, and not an administrator of all, none."""
    if user.site is not None:
        return [user.site]
    if user.has_perm(ADMINISTER) and user.has_perm(ALL_SITES):
        return list(Site.objects.all())
    raise PermissionDenied
