"""Keeps the children running, and leaves none behind.

A library such as supervisord would do the restarting, but not the rest: starting each part only when the one
it needs is ready, ending everything when the terminal dies, and cleaning up after a machine that lost power.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from portal.local.service import Service

FAILING_DEATHS = 3
"""So many deaths inside `MEMORY_SECONDS` and somebody has to look."""
MEMORY_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 30.0


@dataclass
class Charge:
    """A service in our care, with the deaths we still hold against it."""

    service: Service
    deaths: list[float] = field(default_factory=list)
    restart_at: float | None = None
    reported: bool = False

    @property
    def failing(self) -> bool:
        return len(self.deaths) >= FAILING_DEATHS


class Supervisor:
    """Starts services in order, restarts the dead with growing pauses, stops in the opposite order."""

    def __init__(
        self, record: Path, report: Callable[[Service], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self.record = record
        self.report = report
        self.now = now
        self.charges: list[Charge] = []

    def start(self, service: Service) -> None:
        service.start()
        self.charges.append(Charge(service))
        self._write_record()

    def failing(self) -> list[Service]:
        return [charge.service for charge in self.charges if charge.failing]

    def tend(self) -> None:
        """Call about once a second: restarts what died and keeps the logs short."""
        for charge in self.charges:
            if charge.service.running:
                charge.service.trim_log()
            elif charge.restart_at is None:
                self._note_death(charge)
            elif self.now() >= charge.restart_at:
                charge.restart_at = None
                charge.service.kill()
                charge.service.start()
                self._write_record()

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Last started, first stopped: what serves people goes before what it stands on."""
        while self.charges:
            self.charges.pop().service.stop(hurry)
        self.record.unlink(missing_ok=True)

    def _note_death(self, charge: Charge) -> None:
        now = self.now()
        charge.deaths = [death for death in charge.deaths if now - death < MEMORY_SECONDS] + [now]
        charge.restart_at = now + min(2.0 ** (len(charge.deaths) - 1) - 1.0, LONGEST_PAUSE_SECONDS)
        if not charge.failing:
            charge.reported = False
        elif not charge.reported:
            charge.reported = True
            self.report(charge.service)

    def _write_record(self) -> None:
        """Who our children are, for the next start to find should this one never get to stop them."""
        running = [charge.service.pid for charge in self.charges if charge.service.running]
        self.record.parent.mkdir(parents=True, exist_ok=True)
        partial = self.record.with_suffix(".partial")
        partial.write_text(json.dumps([_identity(pid) for pid in running if pid and psutil.pid_exists(pid)]))
        os.replace(partial, self.record)


def _identity(pid: int) -> dict[str, float]:
    """A process number alone may since belong to somebody else; with its birth it cannot."""
    return {"pid": pid, "born": psutil.Process(pid).create_time()}


def end_leftovers(record: Path, patience: float = 15.0) -> int:
    """End the children of a run that was killed before it could; says how many were still there."""
    try:
        remembered = json.loads(record.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return 0
    leftovers = [process for entry in remembered for process in _still_there(entry)]
    for process in leftovers:
        _ignore_missing(process.terminate)
    _, stubborn = psutil.wait_procs(leftovers, timeout=patience)
    for process in stubborn:
        _ignore_missing(process.kill)
    psutil.wait_procs(stubborn, timeout=5)
    record.unlink(missing_ok=True)
    return len(leftovers)


def _still_there(entry: dict[str, float]) -> list[psutil.Process]:
    try:
        process = psutil.Process(int(entry["pid"]))
        if abs(process.create_time() - entry["born"]) > 0.5:
            return []
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _ignore_missing(action: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        action()
