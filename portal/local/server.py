"""`script/server`: the whole portal on one machine, from an empty folder to an address in the browser."""

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from portal.local import ROOT, VAR, CannotStart
from portal.local.commands import collect_static, manage, run_command
from portal.local.environment import portal_environment
from portal.local.health import Health, ask_health
from portal.local.network import in_url, require_port
from portal.local.postgres_server import PostgresServer
from portal.local.redis_server import RedisServer
from portal.local.running import forget, remember
from portal.local.service import Service, dies_with_us
from portal.local.stopping import Stopped, StopRequest
from portal.local.supervisor import Supervisor, end_leftovers

LOGS = VAR / "log"
ACCOUNTS = VAR / "first-run-accounts.txt"
FREE_BYTES = 500_000_000
HEALTHY_WITHIN_SECONDS = 180
CELERY = (sys.executable, "-m", "celery", "-A", "worker.celery:app")


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    stop = StopRequest()
    stop.listen()
    supervisor = Supervisor(VAR / "run" / "processes.json", report_failing)
    try:
        with only_server(options.address):
            _require_space()
            end_leftovers(supervisor.record)
            require_port(options.host, options.port)
            try:
                serve(options, supervisor, stop)
            finally:
                say("Stopping …")
                forget()
                supervisor.stop(hurry=lambda: stop.urgent)
    except CannotStart as reason:
        say(f"\n{reason}", error=True)
        return 1
    except Stopped:
        say("Stopped.")
    return 0


def serve(options: argparse.Namespace, supervisor: Supervisor, stop: StopRequest) -> None:
    """Bring up each part when the one below it is ready, then watch over them until asked to stop."""
    started = time.monotonic()
    accounts_before = _written(ACCOUNTS)
    environment = portal_environment(options.host)
    start_stores(environment, supervisor, stop)
    remember(environment)
    prepare_portal(environment, stop)
    for service in portal_services(options, environment):
        supervisor.start(service)
    health = wait_until_healthy(options.address, supervisor, stop)
    if options.demo:
        say("Filling in a small laboratory to look around in …")
        images = ["--images", str(options.images)] if options.images else []
        run_command(manage("demo_laboratory", *images), environment, stop, show=True, meanwhile=supervisor.tend)
    say_where(options.address, health, time.monotonic() - started)
    say_accounts(new=_written(ACCOUNTS) != accounts_before)
    while True:
        stop.pause(1.0)
        supervisor.tend()


def start_stores(environment: dict[str, str], supervisor: Supervisor, stop: StopRequest) -> None:
    """PostgreSQL and Redis inside var/, each left out where its URL says that there is one already."""
    if "DATABASE_URL" not in environment:
        say("Starting PostgreSQL …")
        postgres = PostgresServer(VAR / "postgres", log=LOGS / "postgres.log")
        postgres.prepare()
        supervisor.start(postgres.service)
        postgres.wait_until_ready(stop.pause)
        environment["DATABASE_URL"] = postgres.url
    if "REDIS_URL" not in environment:
        say("Starting Redis …")
        redis = RedisServer(VAR / "redis", log=LOGS / "redis.log")
        redis.prepare()
        supervisor.start(redis.service)
        redis.wait_until_ready(stop.pause)
        environment["REDIS_URL"] = redis.url


def prepare_portal(environment: dict[str, str], stop: StopRequest) -> None:
    say("Preparing database, models and pages …")
    run_command(manage("set_up"), environment, stop)
    collect_static(environment, stop)


def portal_services(options: argparse.Namespace, environment: dict[str, str]) -> Iterator[Service]:
    """The worker first, so that what the web hands out finds somebody; stopped in the opposite order."""
    yield worker_service(environment)
    yield beat_service(environment)
    yield web_service(f"{in_url(options.host)}:{options.port}", environment)


def worker_service(environment: dict[str, str]) -> Service:
    """One child by default: a hung or killed prediction then takes the child and not the worker."""
    pool = ("--pool", environment.get("WORKER_POOL", "prefork"))
    size = ("--concurrency", environment.get("WORKER_CONCURRENCY", "1"))
    command = (*CELERY, "worker", *pool, *size, "--loglevel", "INFO", "--without-gossip", "--without-mingle")
    return _service("worker", command, environment, stop_seconds=20)


def beat_service(environment: dict[str, str]) -> Service:
    return _service("beat", (*CELERY, "beat", "--loglevel", "INFO", "--pidfile="), environment)


def web_service(bind: str, environment: dict[str, str]) -> Service:
    command = (sys.executable, "-m", "gunicorn", "-c", "python:portal.web_server")
    return _service("web", command, {**environment, "WEB_BIND": bind})


def _service(name: str, command: tuple[str, ...], environment: dict[str, str], stop_seconds: float = 10.0) -> Service:
    return Service(
        name,
        [*dies_with_us(signal.SIGTERM), *command],
        log=LOGS / f"{name}.log",
        environment=environment,
        stop_seconds=stop_seconds,
    )


def wait_until_healthy(address: str, supervisor: Supervisor, stop: StopRequest) -> Health:
    """Gives up where a part cannot live; a portal that answers but is not well runs on, and that is told."""
    say("Starting web, worker and beat …")
    deadline = time.monotonic() + HEALTHY_WITHIN_SECONDS
    while not (health := ask_health(address)).ok:
        if supervisor.failing():
            raise CannotStart("That is needed to go on.")
        if health.final or time.monotonic() > deadline:
            break
        stop.pause(0.5)
        supervisor.tend()
    if not health.answered:
        raise CannotStart(f"The web server does not answer at {address}: see {_shown(LOGS / 'web.log')}.")
    return health


def report_failing(service: Service) -> None:
    say(
        f"\n{service.name} keeps dying; its log, {_shown(service.log)}, ends with:\n{service.log_tail()}\n",
        error=True,
    )


def say_where(address: str, health: Health, seconds: float) -> None:
    if health.ok:
        say(f"\nLeukoscope is ready at {address}   ({seconds:.0f} s)")
        return
    troubles = "".join(f"\n  {trouble}" for trouble in health.troubles)
    say(f"\nNot all is well:{troubles}", error=True)
    say(f"\nThe pages answer at {address}   ({seconds:.0f} s)")


def say_accounts(*, new: bool) -> None:
    if new:
        say(f"\nAccounts, shown this once and kept in {_shown(ACCOUNTS)}:\n\n{ACCOUNTS.read_text().strip()}")
    elif ACCOUNTS.exists():
        say(f"Accounts: {_shown(ACCOUNTS)}")
    say(f"\nLogs: {_shown(LOGS)}/   Research use only.   Ctrl-C stops everything.")


@contextlib.contextmanager
def only_server(address: str) -> Iterator[None]:
    """One server per checkout. The lock goes with the process, however that ends."""
    path = VAR / "run" / "server.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    except PermissionError as error:
        raise CannotStart(
            f"{_shown(VAR)}/ belongs to somebody else: start the server as the one who did before, "
            f"or give it to yourself (sudo chown -R $USER {_shown(VAR)})."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CannotStart(f"This checkout is already being served: {lock.read().strip()}.") from None
        lock.truncate(0)
        lock.write(f"{address}, process {os.getpid()}")
        lock.flush()
        yield


def _require_space() -> None:
    free = shutil.disk_usage(VAR).free
    if free < FREE_BYTES:
        raise CannotStart(
            f"The disk is nearly full: {free // 1_000_000} MB are left where {_shown(VAR)}/ is, "
            f"and {FREE_BYTES // 1_000_000} MB are the least to work with."
        )


def say(text: str, *, error: bool = False) -> None:
    """To whoever is still there to read: a terminal that went away must not keep us from stopping."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr if error else sys.stdout, flush=True)


def _written(path: Path) -> int:
    """When, or 0 for never: tells whether this start made the accounts, or an earlier one."""
    return path.stat().st_mtime_ns if path.exists() else 0


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/server", description="Set up and run the whole portal on this machine."
    )
    parser.add_argument("--port", type=_port, default=8000, help="where to listen (8000)")
    parser.add_argument("--host", default="127.0.0.1", help="which address to listen on (127.0.0.1)")
    parser.add_argument("--demo", action="store_true", help="also fill in a small laboratory")
    parser.add_argument("--images", type=Path, metavar="DIR", help="with --demo: smears, one folder a class")
    options = parser.parse_args(arguments)
    if options.images and not options.demo:
        parser.error("--images goes with --demo")
    if options.images and not options.images.is_dir():
        parser.error(f"--images: {options.images} is not a folder")
    options.images = options.images and options.images.resolve()
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    options.address = f"http://{in_url(reached)}:{options.port}"
    return options


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is between 1 and 65535")
    return port


if __name__ == "__main__":
    sys.exit(main())
