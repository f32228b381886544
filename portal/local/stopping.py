"""Ctrl-C, SIGTERM, or a terminal that went away: all mean the same, and nothing is to be cut off half-way."""

import signal
import threading
from types import FrameType


class Stopped(Exception):
    """Raised where we wait, so that what is running unwinds in order."""


class StopRequest:
    """Remembers that stopping was asked for; asked twice means at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._times = 0

    def listen(self) -> None:
        for number in self.SIGNALS:
            signal.signal(number, self._note)

    def pause(self, seconds: float) -> None:
        if self._asked.wait(seconds):
            raise Stopped

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    @property
    def urgent(self) -> bool:
        return self._times > 1

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._times += 1
        self._asked.set()
