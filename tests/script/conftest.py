"""A checkout of its own for the scripts to run in, so that no test touches a server somebody is using."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SET_BY_SUITE = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE", "ALLOWED_HOSTS", "CI")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", ".*_cache", ".hypothesis", "node_modules")


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """As in a fresh terminal: without what script/test sets for the tests themselves."""
    return {name: value for name, value in os.environ.items() if name not in SET_BY_SUITE}


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """The working tree with today's changes, a var/ of its own and this environment's packages."""
    place = tmp_path / "checkout"
    shutil.copytree(ROOT, place, ignore=NOT_COPIED)
    (place / ".venv").symlink_to(Path(sys.prefix))
    yield place
    # A compiler whose worker was killed ends by itself, within seconds.
    _, left = psutil.wait_procs(processes_of(place), timeout=30)
    for process in left:
        process.kill()
    assert not left, f"left running: {[process.info['cmdline'] for process in left]}"


def processes_of(place: Path) -> list[psutil.Process]:
    """Every process whose command line names the checkout: ours say where their files are."""
    found = psutil.process_iter(["cmdline", "status"])
    return [
        process
        for process in found
        if str(place) in " ".join(process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


@pytest.fixture
def run_script(checkout: Path, clean_environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script to its end, as one would in a terminal."""

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**clean_environment, **variables}
        return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=240)

    return run


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait for something to become true, no longer than it needs."""

    def wait(condition: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    return wait
