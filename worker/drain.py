"""Working on the queue: claim, predict, write back, move the cases on; again until it is empty.

While the model works on one batch, a thread claims and decodes the next. It does so only behind a full batch of runs
never tried before: nobody is made to wait for company, and a picture that takes its process down takes at most one
innocent batch with it, whose runs are then tried alone.
"""

import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

from diagnosis.models import Case
from diagnosis.states import WORKLIST_STATES, CaseState, Priority
from worker.backends import engines_fixed
from worker.claiming import leftovers_free, results_write, runs_claim, runs_give_back
from worker.inference import Batch, Loaded, batch_decode, batch_predict, batch_size, models_load
from worker.sweeper import cases_advance
from worker.tasks import nudge

logger = logging.getLogger(__name__)

T = TypeVar("T")

# One turn; between turns the process looks at its other messages.
TURN_SECONDS = 5.0
# How long finished results wait for a database that is being restarted.
DATABASE_PATIENCE_SECONDS = 30.0
# Containers on the network of their host share its name, and their processes the same low numbers.
BIRTH_MARK = secrets.token_hex(3)


def worker_name() -> str:
    """No other process's, on any machine: whoever bore the same name would take our claims for its leftovers."""
    return f"{socket.gethostname()}:{BIRTH_MARK}:{os.getpid()}"


def queue_drain() -> bool:
    """Work for one turn. True when the queue may hold more.

    One message woke one worker, however much was handed in: who finds a full batch wakes the next.
    """
    loaded = models_load()
    for problem in [*loaded.problems, *loaded.asides]:
        logger.error("Cannot serve: %s", problem)
    if loaded.any is None:
        return False
    leftovers_free(worker=worker_name())
    ends = time.monotonic() + TURN_SECONDS
    alone = True
    with contextlib.closing(Ahead(loaded)) as ahead:
        while ahead.busy or time.monotonic() < ends:
            batch = ahead.take() or batch_claim(loaded)
            if batch is None:
                return False
            if alone and batch.claim.full:
                alone = False
                nudge()
            if batch.claim.full and batch.claim.fresh and time.monotonic() < ends:
                ahead.prepare()
            batch_run(batch, loaded)
    return True


def batch_claim(loaded: Loaded, *, fresh_only: bool = False) -> Batch | None:
    limit = max(batch_size(predictor) for predictor in loaded.predictors.values())
    claim = runs_claim(
        limit=limit, worker=worker_name(), model_versions=list(loaded.predictors), fresh_only=fresh_only
    )
    return batch_decode(claim) if claim else None


def batch_run(batch: Batch, loaded: Loaded) -> None:
    claim = batch.claim
    predictor = loaded.predictors[claim.model_version.pk]
    started = time.monotonic()
    with engines_fixed:
        results, broken = batch_predict(batch, predictor)
    written = patiently(lambda: results_write(claim=claim, results=results))
    for run, error in broken:
        logger.warning("Run %s, attempt %d: %s", run.pk, run.attempts, error)
        runs_give_back(claim=claim, runs=[run], error=error)
    logger.info("%d of %d runs written in %.2f s", written, len(claim.runs), time.monotonic() - started)
    ids = {run.image.case_id for run in claim.runs if run.priority < Priority.BACKFILL}
    # Also those that have moved on already: a run of theirs was tried again.
    cases_advance(Case.objects.filter(pk__in=ids, state__in=(CaseState.SUBMITTED, *WORKLIST_STATES)))


def patiently(write: Callable[[], T]) -> T:
    """Do it again while the database is away for a moment. Only for what may be done twice."""
    deadline = time.monotonic() + DATABASE_PATIENCE_SECONDS
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            logger.warning("Results wait for the database: %s", error)
            connection.close()
            time.sleep(0.5)


class Ahead:
    """Prepares the next batch in a thread, with a database connection of its own."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.executor: ThreadPoolExecutor | None = None
        self.coming: Future[Batch | None] | None = None

    @property
    def busy(self) -> bool:
        return self.coming is not None

    def prepare(self) -> None:
        self.executor = self.executor or ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self.coming = self.executor.submit(batch_claim, self.loaded, fresh_only=True)

    def take(self) -> Batch | None:
        """The batch that was prepared, if one was and there was something to claim."""
        coming, self.coming = self.coming, None
        return coming.result() if coming else None

    def close(self) -> None:
        if self.executor:
            self.executor.submit(_close_connection)
            self.executor.shutdown()


def _close_connection() -> None:
    """That of the thread this is called in."""
    connection.close()
