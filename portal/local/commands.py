"""One-off commands on the way up: migrations, static files, first accounts."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from portal.local import ROOT, VAR, CannotStart
from portal.local.service import dies_with_us
from portal.local.stopping import StopRequest


def manage(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def run_command(
    command: list[str],
    environment: Mapping[str, str],
    stop: StopRequest,
    *,
    show: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Run to its end. What it says is shown as it comes with `show`, otherwise only should it fail."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*dies_with_us(signal.SIGTERM), *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=None if show else output,
            stderr=None if show else subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                stop.pause(0.05)
                meanwhile()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace").splitlines()[-25:]
            name = " ".join(part for part in command[1:3] if not part.startswith("/"))
            raise CannotStart("\n".join([f"This step failed: {name}", *said]))


def collect_static(environment: Mapping[str, str], stop: StopRequest) -> None:
    """Gathered, hashed and compressed again only when a source has changed: it is the slowest step."""
    stamp = VAR / "static" / ".collected"
    fingerprint = _static_fingerprint()
    if stamp.exists() and stamp.read_text() == fingerprint:
        return
    run_command(manage("collectstatic", "--noinput", "--clear", "-v0"), environment, stop)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(fingerprint)


def _static_fingerprint() -> str:
    digest = hashlib.sha256()
    for path in _static_sources():
        status = path.stat()
        digest.update(f"{path.relative_to(ROOT)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _static_sources() -> Iterator[Path]:
    """Our own files one by one; those that come with packages change only with requirements.txt."""
    yield ROOT / "requirements.txt"
    yield ROOT / "portal" / "settings.py"
    for folder in sorted(ROOT.glob("*/static")):
        if folder != VAR / "static":
            for directory, _, names in os.walk(folder):
                yield from (Path(directory) / name for name in sorted(names))
