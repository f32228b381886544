"""The state of the queue and of those who work on it, for the health page and the administrator."""

import datetime
from dataclasses import dataclass

from django.db.models import Count, Min
from django.db.models.functions import Now

from diagnosis.models import PredictionRun, WorkerHeartbeat
from diagnosis.states import OPEN_RUN_STATES, RunState

SWEEPER = "sweeper"
LOADING = "Loading the models."
HEARTBEAT_FRESH = datetime.timedelta(seconds=30)
SWEEPER_FRESH = datetime.timedelta(seconds=60)


@dataclass(frozen=True)
class QueueStatus:
    queued: int
    running: int
    failed: int
    oldest_queued_at: datetime.datetime | None


def queue_status() -> QueueStatus:
    counts = dict(
        PredictionRun.objects.filter(state__in=OPEN_RUN_STATES).order_by().values_list("state").annotate(n=Count("pk"))
    )
    oldest = PredictionRun.objects.filter(state=RunState.QUEUED).aggregate(at=Min("queued_at"))["at"]
    return QueueStatus(
        queued=counts.get(RunState.QUEUED, 0),
        running=counts.get(RunState.RUNNING, 0),
        failed=PredictionRun.objects.filter(state=RunState.FAILED).count(),
        oldest_queued_at=oldest,
    )


def workers_seen() -> list[WorkerHeartbeat]:
    """The worker processes heard of within the last half minute."""
    fresh = WorkerHeartbeat.objects.exclude(name=SWEEPER).filter(seen_at__gte=Now() - HEARTBEAT_FRESH)
    return list(fresh.order_by("name"))


def sweeper_alive() -> bool:
    return WorkerHeartbeat.objects.filter(name=SWEEPER, seen_at__gte=Now() - SWEEPER_FRESH).exists()


def processing_delayed() -> bool:
    """Whether what is queued now will wait longer than usual, because no worker is ready."""
    return not any(worker.ready for worker in workers_seen())
