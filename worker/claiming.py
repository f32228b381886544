"""Claiming runs from the queue, and giving results back. PostgreSQL is the queue; its clock is the only clock.

A claim marks runs as running under a lease token. Whatever is written back carries the token and is taken only
where the run still has it, so a worker that was thought dead cannot overwrite what another one did.
"""

import json
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import connection, transaction
from django.db.models import Exists, F, Func, OuterRef, Q, QuerySet, UUIDField, Value
from django.db.models.functions import Now

from diagnosis.models import ModelVersion, PredictionRun, WorkerHeartbeat
from diagnosis.selectors.queue import HEARTBEAT_FRESH
from diagnosis.states import RunState


@dataclass(frozen=True)
class Claim:
    """Runs of one model version that this worker owns until the lease ends."""

    token: uuid.UUID
    model_version: ModelVersion
    runs: list[PredictionRun]  # with their images
    limit: int

    @property
    def fresh(self) -> bool:
        """None of its runs was tried before."""
        return all(run.attempts == 1 for run in self.runs)

    @property
    def full(self) -> bool:
        """More may wait behind it."""
        return len(self.runs) == self.limit


@dataclass(frozen=True)
class Result:
    """How one run of a claim ended."""

    id: str
    state: str
    label: str = ""
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    abstained: bool = False
    reasons: list[str] = field(default_factory=list)
    cells: list[dict] = field(default_factory=list)
    error: str = ""
    device: str = ""
    backend: str = ""


@transaction.atomic
def runs_claim(
    *, limit: int, worker: str, model_versions: Sequence[uuid.UUID], fresh_only: bool = False
) -> Claim | None:
    """Take the most pressing queued runs that one of these model versions can serve, at most `limit`.

    Of the same priority, sites take turns, each with its oldest. A run that was tried before is claimed alone: what
    made its batch fail then cannot take others down again. With `fresh_only` nothing is claimed while such a run is
    next.
    """
    order = turns(model_versions, limit * AHEAD_OF_OTHERS)
    queue = (
        PredictionRun.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(state=RunState.QUEUED, pk__in=order)
        .order_by(Func(Value(order, ArrayField(UUIDField())), F("id"), function="array_position"))
    )
    head = queue.first()
    if head is None or (fresh_only and head.attempts):
        return None
    taken = [head]
    if head.attempts == 0 and limit > 1:
        taken += list(queue.filter(attempts=0).exclude(pk=head.pk)[: limit - 1])
    token = uuid.uuid4()
    PredictionRun.objects.filter(pk__in=[run.pk for run in taken]).update(
        state=RunState.RUNNING,
        attempts=F("attempts") + 1,
        lease_token=token,
        lease_expires_at=Now() + timedelta(seconds=settings.RUN_LEASE_SECONDS),
        started_at=Now(),
        worker=worker,
    )
    runs = PredictionRun.objects.filter(lease_token=token).select_related("image", "model_version")
    ordered = sorted(runs, key=lambda run: order.index(run.pk))
    return Claim(token=token, model_version=ordered[0].model_version, runs=ordered, limit=limit)


# Several workers that claim at once find the same runs first; each must look past what the others are taking.
AHEAD_OF_OTHERS = 5

PRESSING = """
SELECT version.id, (
    SELECT priority FROM diagnosis_predictionrun
    WHERE state = 'queued' AND model_version_id = version.id
    ORDER BY priority LIMIT 1
)
FROM unnest(%s::uuid[]) AS version(id)
"""

# Steps from one (priority, site) to the next along the index, so that it takes as long with ten runs as with millions.
TURNS = """
WITH RECURSIVE place(priority, site_id) AS (
    (SELECT priority, site_id FROM diagnosis_predictionrun
     WHERE state = 'queued' AND model_version_id = %(version)s ORDER BY priority, site_id LIMIT 1)
    UNION ALL
    SELECT next.priority, next.site_id FROM place CROSS JOIN LATERAL (
        SELECT priority, site_id FROM diagnosis_predictionrun
        WHERE state = 'queued' AND model_version_id = %(version)s
          AND (priority, site_id) > (place.priority, place.site_id)
        ORDER BY priority, site_id LIMIT 1
    ) AS next
)
SELECT waiting.id FROM place CROSS JOIN LATERAL (
    SELECT oldest.*, row_number() OVER (ORDER BY queued_at, id) AS turn FROM (
        SELECT id, queued_at FROM diagnosis_predictionrun
        WHERE state = 'queued' AND model_version_id = %(version)s
          AND priority = place.priority AND site_id = place.site_id
        ORDER BY queued_at, id LIMIT %(count)s
    ) AS oldest
) AS waiting
ORDER BY place.priority, waiting.turn, md5(place.site_id::text || %(lot)s), waiting.queued_at, waiting.id
LIMIT %(count)s
"""


def turns(model_versions: Sequence[uuid.UUID], count: int) -> list[uuid.UUID]:
    """The next runs of the one version that has the most pressing, in the order they are to be taken.

    Which version where several have, and which site begins each round, is drawn by lot: nobody has to remember who was
    served last, no worker waits for another, and no backlog keeps another site's images from their turn.
    """
    with connection.cursor() as cursor:
        cursor.execute(PRESSING, [list(map(str, model_versions))])
        pressing = [(priority, version) for version, priority in cursor.fetchall() if priority is not None]
        if not pressing:
            return []
        most = min(priority for priority, _ in pressing)
        version = secrets.choice([version for priority, version in pressing if priority == most])
        cursor.execute(TURNS, {"version": version, "count": count, "lot": secrets.token_hex(4)})
        return [pk for (pk,) in cursor.fetchall()]


def results_write(*, claim: Claim, results: Sequence[Result]) -> int:
    """Write how runs of this claim ended, in one statement, where the lease still holds; returns how many it did."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE diagnosis_predictionrun AS run
            SET state = result.state, label = result.label, confidence = result.confidence,
                probabilities = result.probabilities, abstained = result.abstained, reasons = result.reasons,
                cells = result.cells, error = result.error, device = result.device, backend = result.backend,
                finished_at = statement_timestamp(),
                lease_token = NULL, lease_expires_at = NULL
            FROM jsonb_to_recordset(%s::jsonb) AS result(
                id uuid, state text, label text, confidence float8, probabilities jsonb, abstained boolean,
                reasons jsonb, cells jsonb, error text, device text, backend text
            )
            WHERE run.id = result.id AND run.state = 'running' AND run.lease_token = %s
            """,
            [json.dumps([asdict(result) for result in results]), claim.token],
        )
        return cursor.rowcount


def runs_give_back(*, claim: Claim, runs: Sequence[PredictionRun], error: str) -> None:
    """An attempt went wrong: queue the runs for the next one, or end those that have had their last."""
    ours = PredictionRun.objects.filter(
        pk__in=[run.pk for run in runs], state=RunState.RUNNING, lease_token=claim.token
    )
    _end_attempt(ours, error)


def leases_free() -> list[PredictionRun]:
    """Take back the runs whose lease has ended: their worker hangs. And those whose worker has not been heard of since
    before its lease ends: it died. Returns those that thereby failed."""
    heard = WorkerHeartbeat.objects.filter(name=OuterRef("worker"), seen_at__gte=Now() - HEARTBEAT_FRESH)
    silent = Q(started_at__lt=Now() - HEARTBEAT_FRESH) & ~Exists(heard)
    held = PredictionRun.objects.filter(Q(lease_expires_at__lt=Now()) | silent, state=RunState.RUNNING)
    return _end_attempt(held, "The worker stopped or did not answer while it had this image.")


def leftovers_free(*, worker: str) -> list[PredictionRun]:
    """Take back what this very process still holds although it is not working: a turn was broken off, by a database
    that went away for instance. Returns those that thereby failed. One turn at a time in a process."""
    held = PredictionRun.objects.filter(state=RunState.RUNNING, worker=worker)
    return _end_attempt(held, "The attempt was broken off.")


@transaction.atomic
def _end_attempt(running: QuerySet[PredictionRun], error: str) -> list[PredictionRun]:
    locked = list(running.select_for_update(skip_locked=True, of=("self",)).select_related("image"))
    last = [run for run in locked if run.attempts >= settings.RUN_MAX_ATTEMPTS]
    again = [run for run in locked if run.attempts < settings.RUN_MAX_ATTEMPTS]
    released = {"lease_token": None, "lease_expires_at": None, "error": error[:2000]}
    PredictionRun.objects.filter(pk__in=[run.pk for run in again]).update(state=RunState.QUEUED, **released)
    PredictionRun.objects.filter(pk__in=[run.pk for run in last]).update(
        state=RunState.FAILED, finished_at=Now(), **released
    )
    return last
