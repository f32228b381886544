"""One child process: its command, its log, and how it likes to be asked to stop."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from portal.local import ROOT

LOG_BYTES = 10_000_000


def dies_with_us(stop_signal: signal.Signals) -> list[str]:
    """A command prefix through which Linux sends the child `stop_signal` should we be killed outright."""
    setpriv = shutil.which("setpriv")
    return [setpriv, f"--pdeathsig={stop_signal.name.removeprefix('SIG')}", "--"] if setpriv else []


class Service:
    """A long-running child in a session of its own, so that Ctrl-C reaches it through us and in our order."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_seconds: float = 10.0,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = dict(os.environ if environment is None else environment)
        self.stop_signal = stop_signal
        self.stop_seconds = stop_seconds
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, appending to its log; a log grown too long is first set aside as `.1`."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.trim_log()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ask, wait, and take away by force what has not gone by then or once `hurry` says so."""
        if self.process is None:
            return
        if self.running:
            self.process.send_signal(self.stop_signal)
            deadline = time.monotonic() + self.stop_seconds
            while self.running and time.monotonic() < deadline and not hurry():
                time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """End it and whatever it left in its process group, at once."""
        if self.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def trim_log(self) -> None:
        """Keep one old log; the file itself is emptied in place because the child holds it open."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            shutil.copyfile(self.log, self.log.with_name(self.log.name + ".1"))
            os.truncate(self.log, 0)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines it wrote, for the person who has to find out why it died."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
