"""The tasks: thin, without arguments, and safe to run twice, late or never."""

import logging
from typing import Any

from celery import shared_task
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.queues import NUDGES

logger = logging.getLogger(__name__)

ENOUGH_NUDGES = 8
# A worker that counts predicts nothing: what is left over is counted at the next turn.
SUMMARY_EFFORT = 10.0


@shared_task(name="worker.drain")
def drain(**_unknown: Any) -> None:
    """Work on the queue for a while; ask for another turn when something is left."""
    from worker.drain import queue_drain

    if queue_drain():
        nudge()


@shared_task(name="worker.sweep")
def sweep(**_unknown: Any) -> None:
    """Free what dead workers held, move on what waits."""
    from worker.sweeper import queue_sweep

    if queue_sweep():
        nudge()


@shared_task(name="worker.summarise")
def summarise(**_unknown: Any) -> None:
    """Count again the days of the dashboards on which something changed."""
    from diagnosis.dashboards.summaries import summaries_refresh

    summaries_refresh(seconds=SUMMARY_EFFORT)


@shared_task(name="worker.watch")
def watch(**_unknown: Any) -> None:
    """Look whether what the models see and say has drifted."""
    from diagnosis.dashboards.alarms import drift_look

    drift_look()


@shared_task(name="worker.tidy")
def tidy(**_unknown: Any) -> None:
    """Delete stored bytes that no image shows: what uploads left that were broken off."""
    from diagnosis.storage import blobs_collect_garbage

    deleted = blobs_collect_garbage()
    logger.info("Stored files that no image refers to: %d deleted", deleted)


def nudge(**_signal: Any) -> bool:
    """Tell the workers that runs wait. False when the broker cannot be reached; the sweeper makes up for it.

    Whoever hands in a case waits for this, so the connection is one that gives up soon: a broker that hangs must not
    hold a page for as long as a worker would wait for it. A few nudges are enough, however many cases came in.
    """
    from worker.celery import app
    from worker.celery_settings import PUBLISH_TIMEOUTS

    try:
        with app.connection_for_write(transport_options=PUBLISH_TIMEOUTS) as connection:
            if _waiting(connection) < ENOUGH_NUDGES:
                app.send_task("worker.drain", connection=connection)
    except (OperationalError, OSError, RedisError) as error:
        logger.warning("No worker could be told that runs wait: %s", error)
        return False
    return True


def _waiting(connection: Connection) -> int:
    """How many nudges nobody has taken yet."""
    broker: Any = getattr(connection.default_channel, "client")  # noqa: B009 - only the Redis channel has one
    return int(broker.llen(NUDGES))
