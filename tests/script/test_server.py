"""`script/server` as a person at a terminal meets it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Wait = Callable[..., None]
ROOT = Path(__file__).resolve().parents[2]
MODELS = Path(os.environ.get("MODELS_DIR", ROOT / "ml" / "weights"))
PARTS = {"postgres", "redis-server", "celery", "gunicorn"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_it_says_who_has_the_port_and_what_to_do(run_script: Run) -> None:
    with listening() as port:
        result = run_script("script/server", "--port", str(port))
    assert result.returncode == 1
    assert f"Port {port} is taken by" in result.stderr
    assert f"(process {os.getpid()})" in result.stderr
    assert f"--port {port + 1}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "http"], "between 1 and 65535"),
        (["--port", "99999"], "between 1 and 65535"),
        (["--images", "."], "--images goes with --demo"),
        (["--demo", "--images", "/no/such/folder"], "is not a folder"),
        (["--host", "no-such-host.invalid"], "not an address of this machine"),
    ],
)
def test_a_wrong_argument_is_answered_with_a_sentence(run_script: Run, arguments: list[str], sentence: str) -> None:
    result = run_script("script/server", *arguments)
    assert result.returncode != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_a_second_server_in_the_same_checkout_is_refused(checkout: Path, run_script: Run) -> None:
    holder = (
        "import time; from portal.local.server import only_server\n"
        "with only_server('http://127.0.0.1:8000'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder], cwd=checkout, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        result = run_script("script/server", "--port", str(free_port()))
        first.kill()
    assert result.returncode == 1
    assert f"already being served: http://127.0.0.1:8000, process {first.pid}" in result.stderr


def test_a_killed_server_does_not_keep_the_next_from_starting(checkout: Path, run_script: Run) -> None:
    (checkout / "var" / "run").mkdir(parents=True)
    (checkout / "var" / "run" / "server.lock").write_text("http://127.0.0.1:8000, process 1")
    with listening() as port:
        result = run_script("script/server", "--port", str(port))
    assert "is taken by" in result.stderr, "it came past the lock, as far as the port"


def test_commands_for_a_running_portal_say_when_none_runs(run_script: Run) -> None:
    asked = run_script("script/manage", "queue_status")
    assert asked.returncode == 1
    assert asked.stderr.strip() == "No server is running in this checkout: start script/server first."


def test_an_unreachable_database_of_ones_own_is_told_and_nothing_is_left(checkout: Path, run_script: Run) -> None:
    url = f"postgres://somebody:secret@127.0.0.1:{free_port()}/portal"
    result = run_script("script/server", "--port", str(free_port()), DATABASE_URL=url)
    assert result.returncode == 1
    assert "This step failed: set_up" in result.stderr
    assert "onnection refused" in result.stderr
    assert not (checkout / "var" / "postgres").exists(), "somebody brought a database along: ours is not made"


class Started:
    """A running script/server with what it has said so far in a file."""

    def __init__(self, checkout: Path, environment: dict[str, str], *arguments: str) -> None:
        self.checkout = checkout
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.output = checkout / f"output-{self.port}.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                ["script/server", "--port", str(self.port), *arguments],
                cwd=checkout,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    def ready(self) -> bool:
        assert self.process.poll() is None, f"it ended: {self.said}"
        return "is ready at" in self.said

    def health(self) -> dict[str, object]:
        with urllib.request.urlopen(f"{self.address}/health/", timeout=10) as answer:  # noqa: S310
            return json.load(answer)


@pytest.fixture
def start(checkout: Path, clean_environment: dict[str, str], eventually: Wait) -> Iterator[Callable[..., Started]]:
    """Start a server and wait until it says that it is ready; stopped with the test whatever happens."""
    if not list(MODELS.glob("*/*/manifest.json")):
        pytest.skip(f"no released model in {MODELS}: the portal is never quite healthy without one")
    with ExitStack() as stack:

        def bring_up(*arguments: str) -> Started:
            started = Started(checkout, clean_environment, *arguments)
            stack.callback(end, started.process)
            eventually(started.ready, seconds=240)
            return started

        yield bring_up


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait(timeout=60)


def running_parts(checkout: Path) -> dict[str, int]:
    """What of us is running from this checkout: part -> its (first) process."""
    parts: dict[str, int] = {}
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if str(checkout) in " ".join(words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            command = {Path(word).name for word in " ".join(words[:4]).split()}  # redis-server rewrites its own
            for part in PARTS & command:
                parts.setdefault(part, process.pid)
    return parts


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_an_empty_var_to_healthy_and_back_to_nothing(
    start: Callable[..., Started], checkout: Path, run_script: Run
) -> None:
    accounts = checkout / "var" / "first-run-accounts.txt"
    accounts.parent.mkdir(exist_ok=True)
    accounts.write_text("of a database that was thrown away")
    server = start()
    health = server.health()
    assert health["status"] == "ok", health

    assert accounts.stat().st_mode & 0o077 == 0
    assert accounts.read_text().strip() in server.said
    assert len(re.findall(r"(technician|haematologist|administrator)\s+\S{12,}", server.said)) == 3
    for secret in ("secret-key", "postgres.password", "redis/password", "redis/redis.conf"):
        assert (checkout / "var" / secret).stat().st_mode & 0o077 == 0
    passwords = [line.split()[-1] for line in accounts.read_text().splitlines() if line.strip()]
    logs = "".join(log.read_text() for log in (checkout / "var" / "log").glob("*.log"))
    assert not [password for password in passwords if password in logs]

    asked = run_script("script/manage", "queue_status", "--json")
    assert asked.returncode == 0, asked.stderr
    assert '"queued"' in asked.stdout

    os.killpg(server.process.pid, signal.SIGINT)
    assert server.process.wait(timeout=60) == 0
    assert running_parts(checkout) == {}
    assert not (checkout / "var" / "run" / "environment.json").exists()

    again = start()
    assert accounts.read_text().strip() not in again.said, "shown once"
    assert "var/first-run-accounts.txt" in again.said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_starts_again_what_is_killed_and_ends_when_the_terminal_does(
    start: Callable[..., Started], checkout: Path, eventually: Wait
) -> None:
    server = start()
    before = running_parts(checkout)
    assert set(before) == PARTS
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: set(running_parts(checkout)) == PARTS, seconds=60)
    eventually(lambda: healthy(server), seconds=60)
    assert not set(before.values()) & set(running_parts(checkout).values())

    os.killpg(server.process.pid, signal.SIGHUP)
    assert server.process.wait(timeout=60) == 0
    assert running_parts(checkout) == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_start_after_everything_was_killed_finds_its_data(
    start: Callable[..., Started], checkout: Path, eventually: Wait
) -> None:
    server = start()
    accounts = (checkout / "var" / "first-run-accounts.txt").read_text()
    everything = [server.process.pid, *running_parts(checkout).values()]
    for pid in everything:
        os.kill(pid, signal.SIGKILL)
    server.process.wait()

    again = start()
    assert again.health()["status"] == "ok"
    assert (checkout / "var" / "first-run-accounts.txt").read_text() == accounts
    assert "Accounts: var/first-run-accounts.txt" in again.said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_a_model_it_does_not_wait_and_does_not_claim_to_be_ready(
    checkout: Path, clean_environment: dict[str, str], tmp_path: Path, eventually: Wait
) -> None:
    empty = tmp_path / "no models"
    empty.mkdir()
    server = Started(checkout, clean_environment | {"MODELS_DIR": str(empty)})
    try:
        eventually(lambda: server.ready() or "The pages answer at" in server.said, seconds=150)
        assert f"The pages answer at {server.address}" in server.said
        assert "is ready at" not in server.said
        assert "model: No model version is active." in server.said
        assert "first-run-accounts.txt" in server.said
        urllib.request.urlopen(f"{server.address}/accounts/sign-in/", timeout=10).close()  # noqa: S310
    finally:
        end(server.process)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_part_that_cannot_live_ends_the_start_with_its_own_words(checkout: Path, run_script: Run) -> None:
    (checkout / "worker" / "celery.py").write_text("raise SystemExit('the worker is broken on purpose')\n")
    result = run_script("script/server", "--port", str(free_port()))
    assert result.returncode == 1
    assert "keeps dying; its log, var/log/" in result.stderr
    assert "the worker is broken on purpose" in result.stderr
    assert running_parts(checkout) == {}


def healthy(server: Started) -> bool:
    try:
        return server.health()["status"] == "ok"
    except OSError:
        return False
