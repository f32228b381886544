"""Workers as processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings

CELERY = (sys.executable, "-m", "celery", "-A", "worker.celery:app", "worker", "--concurrency", "1")


@contextmanager
def workers(count: int) -> Iterator[None]:
    """Workers as in production, one thread each, on the engine that needs no preparation."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "INFERENCE_BACKEND": "autocast"}
    started = [
        subprocess.Popen(
            [*CELERY, "-n", f"benchmark-{number}@%h"],
            env=environment,
            cwd=settings.BASE_DIR,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(count)
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=60)


def wait_for(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("The workers did not get there in time.")
        time.sleep(0.2)
