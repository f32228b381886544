"""`script/soak --minutes N`: a laboratory at work while its workers are killed and its servers restarted at random.

This side does the harm; `manage.py soak` hands cases in meanwhile and at the end proves that nothing was lost.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from portal.local import ROOT, CannotStart
from portal.local.commands import manage, run_command
from portal.local.server import beat_service, worker_service
from portal.local.service import Service
from portal.local.stopping import Stopped, StopRequest
from portal.local.trials import Trial, trial

PAUSE_SECONDS = (6.0, 18.0)
WORKERS = 2
# Killing is no fault of an image's here, so it must not use up its attempts.
SETTINGS = {"RUN_MAX_ATTEMPTS": "50", "RUN_LEASE_SECONDS": "30", "SWEEP_SECONDS": "2", "OMP_NUM_THREADS": "1"}
BACKEND = "autocast"


@dataclass
class Harm:
    """What is done, and how often it was."""

    trial: Trial
    workers: list[Service]
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def some(self) -> None:
        ways: list[Callable[[], None]] = [
            self.kill_child,
            self.kill_child,
            self.kill_worker,
            self.kill_redis,
            self.restart_postgres,
        ]
        self.chance.choice(ways)()

    def kill_child(self) -> None:
        """The process that predicts, in the middle of whatever it does."""
        worker = self.chance.choice(self.workers)
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(worker.pid).children(recursive=True) if worker.running else []:
                process.send_signal(signal.SIGKILL)
        self.done["prediction processes killed"] += 1

    def kill_worker(self) -> None:
        self.chance.choice(self.workers).kill()
        self.done["workers killed"] += 1

    def kill_redis(self) -> None:
        self.trial.redis.service.kill()
        self.done["Redis killed, with all it held"] += 1

    def restart_postgres(self) -> None:
        """As an administrator would, in the middle of the work; away for a moment."""
        service = self.trial.postgres.service
        service.stop()
        time.sleep(self.chance.uniform(0.2, 3.0))
        service.start()
        self.done["PostgreSQL restarted"] += 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="script/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long harm is done (default 20)")
    parser.add_argument("--seed", type=int, default=None, help="to repeat an order of events")
    options = parser.parse_args(arguments)
    stop = StopRequest()
    stop.listen()
    try:
        with trial(stop) as started:
            started.environment |= {"INFERENCE_BACKEND": BACKEND} | SETTINGS
            for step in (("migrate", "-v0"), ("register_models",)):
                run_command(manage(*step), started.environment, stop)
            return soak(started, options, stop)
    except CannotStart as reason:
        print(f"\n{reason}", file=sys.stderr)
        return 1
    except Stopped:
        return 130


def soak(started: Trial, options: argparse.Namespace, stop: StopRequest) -> int:
    workers = [named(worker_service(started.environment), number, started) for number in range(WORKERS)]
    beat = beat_service(started.environment)
    beat.command.append(f"--schedule={started.folder / 'beat'}")
    beat.log = started.folder / "beat.log"
    for service in (*workers, beat):
        started.supervisor.start(service)
    harm = Harm(started, workers, random.Random(options.seed))  # noqa: S311 - no secret
    command = manage("soak", "--minutes", str(options.minutes))
    laboratory = subprocess.Popen(command, cwd=ROOT, env=started.environment)
    try:
        _harm_while(laboratory, harm, options.minutes * 60, stop)
    finally:
        if laboratory.poll() is None:
            laboratory.kill()
            laboratory.wait()
    for what, times in sorted(harm.done.items()):
        print(f"{times:5} × {what}")
    return laboratory.returncode


def named(worker: Service, number: int, started: Trial) -> Service:
    """Two of one name on one machine would take each other for themselves."""
    worker.command += ["-n", f"soak-{number}@%h"]
    worker.log = started.folder / f"worker-{number}.log"
    return worker


def _harm_while(laboratory: subprocess.Popen[bytes], harm: Harm, seconds: float, stop: StopRequest) -> None:
    ends = time.monotonic() + seconds
    due = time.monotonic() + PAUSE_SECONDS[1]
    while laboratory.poll() is None:
        harm.trial.supervisor.tend()
        if due < time.monotonic() < ends:
            harm.some()
            due = time.monotonic() + harm.chance.uniform(*PAUSE_SECONDS)
        stop.pause(0.5)


if __name__ == "__main__":
    sys.exit(main())
