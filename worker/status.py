"""What an operator asks of the queue: how much waits, how long, who works on it, how fast, what went wrong."""

import datetime
from dataclasses import dataclass

from django.db import connection
from django.db.models import Avg, Count, Max, Min, QuerySet
from django.db.models.functions import Now

from diagnosis.models import PredictionRun
from diagnosis.selectors.queue import sweeper_alive, workers_seen
from diagnosis.states import OPEN_RUN_STATES, Priority, RunState

THROUGHPUT_WINDOW = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class WorkerStatus:
    name: str
    ready: bool
    device: str
    backend: str
    models: list[str]
    message: str


@dataclass(frozen=True)
class RunError:
    at: datetime.datetime | None
    run: str
    state: str
    attempts: int
    error: str


@dataclass(frozen=True)
class QueueFigures:
    """`attempts` counts open runs by how often they were tried; `images_per_second` is over the last five minutes
    and counts from the first run that started in them, so a burst shows as what it was. So are the batch sizes: how
    many images a worker took at once, on average and at most."""

    queued: dict[str, int]
    oldest_queued_seconds: float | None
    running: int
    leases_expired: int
    next_lease_ends_in_seconds: float | None
    attempts: dict[int, int]
    failed: int
    finished_in_window: int
    images_per_second: float | None
    batch_size_mean: float | None
    batch_size_largest: int | None
    sweeper_alive: bool
    workers: list[WorkerStatus]
    last_error: RunError | None


def queue_figures() -> QueueFigures:
    moment = _database_time()
    queued = PredictionRun.objects.filter(state=RunState.QUEUED)
    running = PredictionRun.objects.filter(state=RunState.RUNNING)
    oldest = queued.aggregate(at=Min("queued_at"))["at"]
    next_end = running.filter(lease_expires_at__gte=Now()).aggregate(at=Min("lease_expires_at"))["at"]
    finished, rate = _throughput(moment)
    batch_mean, batch_largest = _batch_sizes()
    return QueueFigures(
        queued=_by_priority(),
        oldest_queued_seconds=_seconds(moment, oldest),
        running=running.count(),
        leases_expired=running.filter(lease_expires_at__lt=Now()).count(),
        next_lease_ends_in_seconds=-seconds if (seconds := _seconds(moment, next_end)) is not None else None,
        attempts=_by_attempts(),
        failed=PredictionRun.objects.filter(state=RunState.FAILED).count(),
        finished_in_window=finished,
        images_per_second=rate,
        batch_size_mean=batch_mean,
        batch_size_largest=batch_largest,
        sweeper_alive=sweeper_alive(),
        workers=[
            WorkerStatus(w.name, w.ready, w.device, w.backend, list(w.loaded), w.message) for w in workers_seen()
        ],
        last_error=_last_error(),
    )


def _database_time() -> datetime.datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime.datetime = cursor.fetchone()[0]
    return moment


def _seconds(moment: datetime.datetime, then: datetime.datetime | None) -> float | None:
    return round((moment - then).total_seconds(), 1) if then else None


def _by_priority() -> dict[str, int]:
    rows = PredictionRun.objects.filter(state=RunState.QUEUED).values_list("priority").annotate(n=Count("pk"))
    counts = dict(rows.order_by())
    return {Priority(priority).label: counts.get(priority, 0) for priority in Priority.values}


def _by_attempts() -> dict[int, int]:
    rows = PredictionRun.objects.filter(state__in=OPEN_RUN_STATES).values_list("attempts").annotate(n=Count("pk"))
    return dict(rows.order_by("attempts"))


def _ended_lately() -> QuerySet[PredictionRun]:
    return PredictionRun.objects.filter(
        finished_at__gte=Now() - THROUGHPUT_WINDOW, state__in=[RunState.SUCCEEDED, RunState.REFUSED]
    )


def _batch_sizes() -> tuple[float | None, int | None]:
    """Runs that were claimed together began at the same moment."""
    batches = _ended_lately().order_by().values("worker", "started_at").annotate(size=Count("pk"))
    found = batches.aggregate(mean=Avg("size"), largest=Max("size"))
    return round(found["mean"], 1) if found["mean"] else None, found["largest"]


def _throughput(moment: datetime.datetime) -> tuple[int, float | None]:
    ended = _ended_lately().aggregate(n=Count("pk"), first=Min("started_at"))
    if not ended["n"]:
        return 0, None
    since = max(ended["first"], moment - THROUGHPUT_WINDOW)
    last = PredictionRun.objects.filter(finished_at__isnull=False).order_by("-finished_at").values_list("finished_at")
    seconds = max((last[0][0] - since).total_seconds(), 0.001)
    return ended["n"], round(ended["n"] / seconds, 2)


def _last_error() -> RunError | None:
    """The newest failure; where none has failed for good, what went wrong with a run that is still to be tried."""
    went_wrong = PredictionRun.objects.exclude(error="")
    run = (
        went_wrong.filter(state=RunState.FAILED).order_by("-finished_at").first()
        or went_wrong.filter(state=RunState.QUEUED).order_by("-started_at").first()
    )
    if run is None:
        return None
    return RunError(run.finished_at or run.started_at, str(run.pk), run.state, run.attempts, run.error)
