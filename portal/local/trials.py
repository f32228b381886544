"""What `script/bench` and `script/soak` run on: a PostgreSQL and a Redis of their own, gone afterwards."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from portal.local import ROOT, VAR, CannotStart
from portal.local.commands import manage, run_command
from portal.local.environment import suite_environment
from portal.local.postgres_server import PostgresServer
from portal.local.redis_server import RedisServer
from portal.local.stopping import Stopped, StopRequest
from portal.local.supervisor import Supervisor


@dataclass
class Trial:
    """Servers that nobody else uses, and the environment of whoever is to use them."""

    folder: Path
    postgres: PostgresServer
    redis: RedisServer
    supervisor: Supervisor
    environment: dict[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """The name of a management command, then its options."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(command):
        return subprocess.call(manage(*command), cwd=ROOT, env=suite_environment() | {"DATABASE_URL": "postgres://"})
    stop = StopRequest()
    stop.listen()
    try:
        with trial(stop) as started:
            for step in (("migrate", "-v0"), ("register_models",), ("collectstatic", "--no-input", "-v0")):
                run_command(manage(*step), started.environment, stop)
            return foreground(manage(*command), started.environment, stop)
    except CannotStart as reason:
        print(f"\n{reason}", file=sys.stderr)
        return 1
    except Stopped:
        return 130


@contextlib.contextmanager
def trial(stop: StopRequest) -> Iterator[Trial]:
    """As durable as in production, because that is part of what is tried."""
    VAR.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trial-", dir=VAR) as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = PostgresServer(folder / "postgres", log=folder / "postgres.log")
        broker = RedisServer(folder / "redis", log=folder / "redis.log")
        supervisor = Supervisor(folder / "processes.json", report=lambda service: None)
        try:
            for server in (postgres, broker):
                server.prepare()
                supervisor.start(server.service)
                server.wait_until_ready(stop.pause)
            given = {name: value for name, value in os.environ.items() if name != "CELERY_BROKER_URL"}
            servers = {"DATABASE_URL": postgres.url, "REDIS_URL": broker.url, "PYTHONUNBUFFERED": "1"}
            yield Trial(folder, postgres, broker, supervisor, suite_environment(given) | servers)
        finally:
            supervisor.stop(hurry=lambda: stop.urgent)


def foreground(command: Sequence[str], environment: dict[str, str], stop: StopRequest) -> int:
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        while process.poll() is None:
            stop.pause(0.1)
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            process.kill()
            process.wait()
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
