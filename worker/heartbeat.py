"""Each worker process says every few seconds that it lives and what it can serve.

Two threads of the process that does the work: one loads the models and keeps them as the registry wants them, the
other speaks. So a worker is heard of while it loads, however long that takes, and the parent never has torch when it
forks.
"""

import contextlib
import logging
import threading
from dataclasses import dataclass, field

from celery.signals import worker_process_init, worker_process_shutdown
from django.db import DatabaseError, InterfaceError, connection
from django.db.models.functions import Now

from diagnosis.models import WorkerHeartbeat
from diagnosis.selectors.queue import LOADING

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
# Below worker_proc_alive_timeout, after which Celery takes a child for dead.
LOADING_SECONDS = 100.0
DATABASE_TROUBLE = (DatabaseError, InterfaceError)


@dataclass(frozen=True)
class Serving:
    """What this process can serve, in plain values."""

    ready: bool = False
    device: str = ""
    backend: str = ""
    loaded: list[str] = field(default_factory=list)
    message: str = LOADING


class Heart:
    """The two threads, and what one has to tell the other."""

    def __init__(self) -> None:
        self.serving = Serving()
        self.stopped = threading.Event()
        self.changed = threading.Event()
        self.tried = threading.Event()
        self.beating: threading.Thread | None = None

    def start(self) -> None:
        """Returns once loading was tried: its time is not taken from that of the first task."""
        self.beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.beating.start()
        threading.Thread(target=self._keep_loaded, name="models", daemon=True).start()
        self.tried.wait(LOADING_SECONDS)

    def stop(self) -> None:
        """Say goodbye, so that nobody waits for this worker."""
        self.stopped.set()
        self.changed.set()
        if self.beating is not None:
            self.beating.join(timeout=2)

    def _beat(self) -> None:
        from worker.drain import worker_name

        name = worker_name()
        while not self.stopped.is_set():
            self.changed.clear()
            try:
                heartbeat_write(name, self.serving)
            except DATABASE_TROUBLE as error:
                logger.warning("No heartbeat: %s", error)
                connection.close()
            self.changed.wait(BEAT_SECONDS)
        with contextlib.suppress(*DATABASE_TROUBLE):
            WorkerHeartbeat.objects.filter(name=name).delete()
        connection.close()

    def _keep_loaded(self) -> None:
        from worker.inference import engines_look_for_faster, models_load, serving

        while not self.stopped.is_set():
            try:
                loaded = models_load()
                engines_look_for_faster(loaded)
                now = serving(loaded)
            except DATABASE_TROUBLE as error:
                logger.warning("The models could not be looked up: %s", error)
                connection.close()
            else:
                if now != self.serving:
                    self.serving = now
                    self.changed.set()
            self.tried.set()
            self.stopped.wait(BEAT_SECONDS)
        connection.close()


_heart = Heart()


@worker_process_init.connect
def start(**_signal: object) -> None:
    _heart.start()


@worker_process_shutdown.connect
def stop(**_signal: object) -> None:
    _heart.stop()


def heartbeat_write(name: str, serving: Serving) -> None:
    WorkerHeartbeat.objects.update_or_create(
        name=name,
        defaults={
            "seen_at": Now(),
            "ready": serving.ready,
            "device": serving.device,
            "backend": serving.backend,
            "loaded": serving.loaded,
            "message": serving.message,
        },
    )
