"""The supervisor's promises, kept with real processes."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from portal.local.service import LOG_BYTES, Service, dies_with_us
from portal.local.supervisor import Supervisor, end_leftovers

Wait = Callable[..., None]
SLEEPER = ("sleep", "600")


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reported() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, clock: Clock, reported: list[str]) -> Iterator[Supervisor]:
    record = tmp_path / "processes.json"
    supervisor = Supervisor(record, lambda service: reported.append(service.log_tail()), now=clock)
    yield supervisor
    supervisor.stop(hurry=lambda: True)


def shell(name: str, script: str, folder: Path, **options: float) -> Service:
    return Service(name, ["sh", "-c", script], log=folder / f"{name}.log", **options)  # type: ignore[arg-type]


def test_it_starts_again_what_died(supervisor: Supervisor, tmp_path: Path) -> None:
    service = Service("sleeper", SLEEPER, log=tmp_path / "log")
    supervisor.start(service)
    first = service.pid
    service.kill()
    supervisor.tend()
    supervisor.tend()
    assert service.running
    assert service.pid != first


def test_it_waits_longer_after_each_death(supervisor: Supervisor, tmp_path: Path, clock: Clock) -> None:
    service = shell("short", "exit 1", tmp_path)
    supervisor.start(service)
    waits = []
    for _ in range(4):
        service.process.wait()  # type: ignore[union-attr]
        died, dead = clock.time, service.pid
        supervisor.tend()
        while service.pid == dead:
            supervisor.tend()
            clock.time += 0.25
        waits.append(round(clock.time - died - 0.25))
    assert waits == [0, 1, 3, 7]


def test_it_reports_once_what_keeps_dying_with_the_end_of_its_log(
    supervisor: Supervisor, tmp_path: Path, clock: Clock, reported: list[str]
) -> None:
    service = shell("broken", "echo the reason why; exit 1", tmp_path)
    supervisor.start(service)
    for _ in range(6):
        service.process.wait()  # type: ignore[union-attr]
        supervisor.tend()
        clock.time += 5
        supervisor.tend()
    assert len(reported) == 1
    assert "the reason why" in reported[0]
    assert supervisor.failing() == [service]


def test_one_death_now_and_then_is_no_reason_to_report(
    supervisor: Supervisor, tmp_path: Path, clock: Clock, reported: list[str]
) -> None:
    service = Service("sleeper", SLEEPER, log=tmp_path / "log")
    supervisor.start(service)
    for _ in range(5):
        service.kill()
        supervisor.tend()
        supervisor.tend()
        clock.time += 300
    assert reported == []
    assert service.running


def test_it_stops_the_last_started_first(supervisor: Supervisor, tmp_path: Path, eventually: Wait) -> None:
    order = tmp_path / "order"
    for name in ("database", "worker", "web"):
        script = f'trap "echo {name} >> {order}; exit" TERM; echo up; while :; do sleep 0.05; done'
        service = shell(name, script, tmp_path)
        supervisor.start(service)
        eventually(lambda service=service: service.log_tail() == "up")
    supervisor.stop()
    assert order.read_text().split() == ["web", "worker", "database"]
    assert not supervisor.record.exists()


def test_what_will_not_stop_is_taken_away_with_its_children(
    supervisor: Supervisor, tmp_path: Path, eventually: Wait
) -> None:
    service = shell("deaf", 'trap "" TERM; sleep 600 & echo $!; wait; sleep 600', tmp_path, stop_seconds=0.3)
    supervisor.start(service)
    eventually(service.log_tail)
    child = int(service.log_tail())
    supervisor.stop()
    assert not service.running
    eventually(lambda: not alive(child))


def test_children_of_a_killed_server_are_ended_at_the_next_start(tmp_path: Path, eventually: Wait) -> None:
    orphan = subprocess.Popen(SLEEPER, start_new_session=True)
    stranger = subprocess.Popen(SLEEPER, start_new_session=True)
    record = tmp_path / "processes.json"
    born = psutil.Process(orphan.pid).create_time()
    not_his = psutil.Process(stranger.pid).create_time() - 1000
    entries = [{"pid": orphan.pid, "born": born}, {"pid": stranger.pid, "born": not_his}]
    record.write_text(json.dumps(entries))
    try:
        assert end_leftovers(record, patience=2) == 1
        assert not alive(orphan.pid)
        assert stranger.poll() is None, "the same number, but another process"
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "not json"])
def test_an_unreadable_record_of_children_is_no_obstacle(tmp_path: Path, content: str) -> None:
    record = tmp_path / "processes.json"
    record.write_text(content)
    assert end_leftovers(record) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent was killed")
def test_children_end_with_a_server_that_was_killed_outright(tmp_path: Path, eventually: Wait) -> None:
    program = (
        "import time, pathlib; from portal.local.service import *; "
        f"s = Service('x', [*dies_with_us(signal.SIGTERM), 'sleep', '600'], log=pathlib.Path('{tmp_path}/x')); "
        "s.start(); print(s.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        child = int(owner.stdout.readline())  # type: ignore[union-attr]
        eventually(lambda: psutil.Process(child).name() == "sleep")
        owner.kill()
    eventually(lambda: not alive(child))


def test_a_long_log_is_set_aside_while_the_child_writes_on(tmp_path: Path, eventually: Wait) -> None:
    service = shell("writer", "while :; do echo line; sleep 0.02; done", tmp_path)
    service.log.write_bytes(b"x" * (LOG_BYTES - 1))
    service.start()
    try:
        eventually(lambda: service.log.stat().st_size > LOG_BYTES)
        service.trim_log()
        assert service.log.with_name("writer.log.1").stat().st_size > LOG_BYTES
        eventually(lambda: 0 < service.log.stat().st_size < 10_000)
    finally:
        service.stop()


def test_the_prefix_leaves_the_command_as_it_was() -> None:
    command = [*dies_with_us(signal.SIGTERM), "sh", "-c", 'printf "%s|" "$@"', "sh", "a b", "--c"]
    assert subprocess.check_output(command, text=True) == "a b|--c|"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
