"""`script/test`: the tests on a PostgreSQL and a Redis of their own; with --all everything that CI runs.

With --all there are two runs of pytest at once: most tests compute, those of WAITING mostly wait for processes to
start, to be killed and to be missed. What the second has said is shown when the first is through.
"""

import contextlib
import fcntl
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from portal.local import ROOT, VAR, CannotStart
from portal.local.audit import audit_packages
from portal.local.commands import manage
from portal.local.environment import suite_environment
from portal.local.postgres_server import QUICK, PostgresServer
from portal.local.redis_server import RedisServer
from portal.local.stopping import Stopped, StopRequest
from portal.local.supervisor import Supervisor, end_leftovers

TOOLS = Path(sys.executable).parent
FAST = ("-m", "not e2e and not slow")
WAITING = ("tests/faults", "tests/script")


@dataclass(frozen=True)
class Check:
    """One thing that `--all` wants to be true, as a command that fails when it is not."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


CHECKS = (
    Check("ruff check", (str(TOOLS / "ruff"), "check", ".")),
    Check("ruff format", (str(TOOLS / "ruff"), "format", "--check", ".")),
    Check("djlint", (str(TOOLS / "djlint"), "--lint", "--quiet", "templates")),
    Check("import contracts", (str(TOOLS / "lint-imports"), "--no-cache")),
    Check("mypy", (str(TOOLS / "mypy"),)),
    Check(
        "manage.py check --deploy",
        manage("check", "--deploy", "--fail-level", "WARNING"),
        {"BEHIND_TLS": "1", "ALLOWED_HOSTS": "portal.example.org"},
    ),
    Check("migrations are complete", manage("makemigrations", "--check", "--dry-run")),
)


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    everything = "--all" in given
    rest = [argument for argument in given if argument != "--all"]
    stop = StopRequest()
    stop.listen()
    environment = suite_environment()
    try:
        if everything and not rest and not {"DATABASE_URL", "REDIS_URL"} & environment.keys():
            return run_everything(environment, stop)
        with stores(environment, stop):
            failed = run_checks(environment, stop) if everything else []
            code = run(pytest_command(rest, everything=everything), environment, stop)
    except CannotStart as reason:
        print(f"\n{reason}", file=sys.stderr)
        return 1
    except Stopped:
        return 130
    return outcome(code, failed)


def outcome(code: int, failed: Sequence[str]) -> int:
    """What the script answers: pytest's own code, or 1 where only a check failed."""
    if failed:
        print(f"\nAlso failed, see above: {', '.join(failed)}", file=sys.stderr)
    return code or int(bool(failed))


def run_everything(environment: Mapping[str, str], stop: StopRequest) -> int:
    """The checks, then the tests that compute; all the while, on stores of their own, those that wait."""
    elsewhere = [f"--ignore={folder}" for folder in WAITING]
    log = VAR / "log" / "waiting-tests.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        stores(dict(environment), stop) as here,
        stores(dict(environment), stop) as there,
        log.open("w+") as said,
    ):
        waiting = started(pytest_command(WAITING, everything=True), there, output=said)
        try:
            failed = run_checks(here, stop)
            code = run(pytest_command(elsewhere, everything=True), here, stop)
            print(f"── pytest {' '.join(WAITING)}", flush=True)
            waited = ended(waiting, stop)
        finally:
            end(waiting)
        said.seek(0)
        print(said.read(), flush=True)
    return outcome(code or waited, failed)


def run_checks(environment: Mapping[str, str], stop: StopRequest) -> list[str]:
    """Every check, even after one has failed; returns the names of those that did."""
    failed = []
    for check in CHECKS:
        started = time.monotonic()
        print(f"── {check.name}", flush=True)
        if run(check.command, {**environment, **check.environment}, stop):
            failed.append(check.name)
        print(
            f"   {'FAILED' if check.name in failed else 'ok'} ({time.monotonic() - started:.0f} s)",
            flush=True,
        )
    print("── known holes in packages", flush=True)
    if not audit_packages():
        failed.append("known holes in packages")
    print("── pytest", flush=True)
    return failed


def pytest_command(arguments: Sequence[str], *, everything: bool) -> list[str]:
    """The fast tests unless all are asked for; a test that is named is run however long it takes."""
    named = any(argument.split("::")[0].endswith(".py") for argument in arguments)
    chosen = ("--tb=short",) if everything else () if named else FAST  # what fails unwatched is to fit into a report
    return [sys.executable, "-m", "pytest", *chosen, *arguments]


def run(command: Sequence[str], environment: Mapping[str, str], stop: StopRequest) -> int:
    """Start it and wait until it has ended; returns its code."""
    process = started(command, environment)
    try:
        return ended(process, stop)
    finally:
        end(process)


def started(
    command: Sequence[str], environment: Mapping[str, str], output: TextIO | None = None
) -> subprocess.Popen[bytes]:
    """In the terminal's own process group, so that Ctrl-C reaches pytest, which then still sums up."""
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)


def ended(process: subprocess.Popen[bytes], stop: StopRequest) -> int:
    while process.poll() is None:
        stop.pause(0.1)
    return process.returncode


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait a little, then ask, then insist; does nothing to one that has ended."""
    for act in (lambda: None, process.terminate, process.kill):
        act()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
            return


@contextlib.contextmanager
def stores(environment: dict[str, str], stop: StopRequest) -> Iterator[dict[str, str]]:
    """The environment with a PostgreSQL and a Redis in it, where it names none.

    Apart from the server's, so that both can run; not durable, because a test has nothing to lose.
    """
    with own_folder() as folder:
        supervisor = Supervisor(folder / "processes.json", report=lambda service: None)
        end_leftovers(supervisor.record)
        try:
            if "DATABASE_URL" not in environment:
                postgres = PostgresServer(folder / "postgres", log=folder / "postgres.log", settings=QUICK)
                postgres.prepare()
                supervisor.start(postgres.service)
                postgres.wait_until_ready(stop.pause)
                environment["DATABASE_URL"] = postgres.url
            if "REDIS_URL" not in environment:
                redis = RedisServer(folder / "redis", log=folder / "redis.log")
                redis.prepare()
                supervisor.start(redis.service)
                redis.wait_until_ready(stop.pause)
                environment["REDIS_URL"] = redis.url
            yield environment
        finally:
            supervisor.stop(hurry=lambda: stop.urgent)


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """var/test, kept from run to run; for every other run at the same time one of its own, gone afterwards."""
    folder = VAR / "test"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            folder = Path(tempfile.mkdtemp(prefix="test-", dir=VAR))
            folder.chmod(0o755)  # PostgreSQL may run as somebody else
        try:
            yield folder
        finally:
            if folder != VAR / "test":
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
