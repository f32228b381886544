"""A request as the views behind the sign-in get it: with somebody in it."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import Site, User


class SignedInRequest(HttpRequest):
    """What a view may rely on that only signed-in people reach: a type to write on it, not a class to make."""

    user: User
    htmx: HtmxDetails


def user_of(request: HttpRequest) -> User:
    """Who is signed in, where the signature of Django's admin leaves that open."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def site_of(user: User) -> Site:
    """The laboratory this person works in; who looks after all of them works in none."""
    if user.site is None:
        raise PermissionDenied
    return user.site
