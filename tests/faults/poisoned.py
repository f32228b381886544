"""The worker as it is, with a decoder that two pictures are the end of: one kills its process, as a fault in a C
library would, one never comes back. `celery -A tests.faults.poisoned:app worker`."""

import hashlib
import os
import signal
import time
from typing import Any

import numpy as np
from celery.signals import worker_process_init

from worker.celery import app

__all__ = ["app"]

CRASHES_ON, HANGS_ON = "POISON_CRASHES_ON", "POISON_HANGS_ON"


@worker_process_init.connect
def poison(**_signal: Any) -> None:
    from worker import inference

    whole = inference.decode

    def decode(data: bytes) -> np.ndarray:
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 == os.environ.get(CRASHES_ON):
            os.kill(os.getpid(), signal.SIGKILL)
        if sha256 == os.environ.get(HANGS_ON):
            time.sleep(3600)
        return whole(data)

    inference.decode = decode
