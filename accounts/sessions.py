"""Idle and absolute limits of a session."""

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse

STARTED = "session_started_at"
SEEN = "session_seen_at"
SEEN_RESOLUTION_SECONDS = 60


class SessionLimitMiddleware:
    """End a session that was idle or open for too long.

    Requests that a page makes by itself (`?poll=1`) do not count as activity: an open, forgotten page must not
    keep its user signed in.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            now = int(time.time())
            started = request.session.setdefault(STARTED, now)
            seen = request.session.setdefault(SEEN, now)
            too_old = now - started > settings.SESSION_COOKIE_AGE
            if too_old or now - seen > settings.SESSION_IDLE_SECONDS:
                logout(request)
            elif now - seen >= SEEN_RESOLUTION_SECONDS and "poll" not in request.GET:
                request.session[SEEN] = now
        return self.get_response(request)
