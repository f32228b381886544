"""Home per role, the administrator's page, and what the machines around us ask: are you alive, are you well?"""

from dataclasses import asdict
from typing import Any

import redis
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_safe

from accounts.requests import SignedInRequest
from accounts.roles import Role
from diagnosis.dashboards.alarms import alarms_open
from diagnosis.models import ModelVersion, WorkerHeartbeat
from diagnosis.selectors.queue import LOADING, queue_status, sweeper_alive, workers_seen
from worker.status import queue_figures

HOMES = {
    Role.TECHNICIAN: "diagnosis:case_list",
    Role.HAEMATOLOGIST: "diagnosis:worklist",
    Role.ADMINISTRATOR: "portal:administration",
}


@login_required
@require_GET
def home(request: SignedInRequest) -> HttpResponse:
    role = request.user.role
    where = HOMES[role] if role else None
    if where is None and request.user.is_superuser:
        where = "portal:administration"
    if where is None:
        return render(request, "portal/no_role.html", status=403)
    return redirect(where)


@login_required
@require_GET
def administration(request: SignedInRequest) -> HttpResponse:
    if not request.user.is_staff:
        raise PermissionDenied
    context = {
        "queue": queue_status(),
        "workers": workers_seen(),
        "sweeper_alive": sweeper_alive(),
        "model_versions": ModelVersion.objects.all(),
        "alarms": alarms_open(request.user),
    }
    return render(request, "portal/administration.html", context)


def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """The Django admin has no sign-in of its own: one door, one lockout."""
    if request.user.is_authenticated and not request.user.is_staff:
        raise PermissionDenied
    return redirect_to_login(request.GET.get("next") or "/admin/")


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Every part's state. 200 when all is well, 503 when not; the web keeps taking cases meanwhile.

    What is said here is for machines and passers-by, so it names no host, user or case.
    """
    checks = health_checks()
    status = "ok" if all(check["ok"] for check in checks.values()) else "degraded"
    if not checks["database"]["ok"]:
        status = "down"
    code = 200 if status == "ok" else 503
    queue = health_queue(request) if checks["database"]["ok"] else None
    if request.accepts("text/html") and "text/html" in request.headers.get("Accept", ""):
        return render(request, "portal/health.html", {"status": status, "checks": checks, "queue": queue}, status=code)
    return JsonResponse({"status": status, "checks": checks, "queue": queue}, status=code)


def health_queue(request: HttpRequest) -> dict[str, Any]:
    """The figures of `manage.py queue_status`, without what names a host; an error's words are for administrators."""
    figures = asdict(queue_figures())
    del figures["workers"], figures["sweeper_alive"]
    if figures["last_error"] and not getattr(request.user, "is_staff", False):
        del figures["last_error"]["run"], figures["last_error"]["error"]
    return figures


def health_checks() -> dict[str, dict]:
    checks: dict[str, dict] = {"database": _database(), "redis": _redis()}
    if not checks["database"]["ok"]:
        return checks
    workers = workers_seen()
    ready = [worker for worker in workers if worker.ready]
    broken = [worker.message for worker in workers if worker.message and not worker.ready]
    if ready:
        said = f"{len(ready)} ready, on {', '.join(sorted({f'{w.device} ({w.backend})' for w in ready}))}"
        said += f", with {', '.join(sorted({version for w in ready for version in w.loaded}))}" * any(
            w.loaded for w in ready
        )
        said = ". ".join([said, *sorted({worker.message for worker in ready if worker.message})])
    else:
        said = broken[0] if broken else "No worker has been heard of within half a minute."
    active = ModelVersion.objects.filter(status="active")
    return checks | {
        # Whether a worker may still become ready by itself: none has spoken yet, or one is at it.
        "worker": {"ok": bool(ready), "message": said, "starting": not ready and set(broken) <= {LOADING}},
        "beat": {"ok": sweeper_alive(), "message": _sweeper_message()},
        "model": {
            "ok": active.exists(),
            "message": ", ".join(map(str, active)) or "No model version is active.",
        },
    }


def _sweeper_message() -> str:
    row = WorkerHeartbeat.objects.filter(name="sweeper").first()
    return f"Last sweep at {row.seen_at:%H:%M:%S} UTC" if row else "The sweeper has not run yet."


def _database() -> dict:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return {"ok": False, "message": "The database does not answer."}
    return {"ok": True, "message": "PostgreSQL answers."}


def _redis() -> dict:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=0.5, socket_timeout=0.5) as client:
            client.ping()
    except redis.RedisError:
        return {"ok": False, "message": "Redis does not answer: new cases are kept, processing is delayed."}
    return {"ok": True, "message": "Redis answers."}
