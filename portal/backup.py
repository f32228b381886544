"""The whole laboratory in one file, and back: everything that must last is in PostgreSQL, the images too.

The tools are PostgreSQL's own, those of the wheel or of the machine. A backup is one snapshot, so it may be taken
while people work; what was queued or running in it is taken up again by the workers of the laboratory it becomes.
"""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from portal.local import CannotStart
from portal.local.postgres_server import binaries

STANDARD_STREAM = Path("-")


class BackupError(Exception):
    """Nothing was kept, or nothing was changed; the message says why."""


@dataclass(frozen=True)
class Contents:
    """What a person would count, and what is wrong with it: images whose bytes are not there or not theirs."""

    cases: int
    images: int
    reports: int
    images_without_bytes: int
    files_altered: int


def backup_write(path: Path) -> None:
    """Readable by its owner alone, and under its name only once it is whole and on the disk."""
    if path == STANDARD_STREAM:
        _run("pg_dump", ["--format=custom", *_server()], stdout=sys.stdout.fileno())
        return
    if path.exists():
        raise BackupError(f"{path} is there already. Choose another name.")
    partial = path.with_name(path.name + ".partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            _run("pg_dump", ["--format=custom", *_server()], stdout=file.fileno())
            os.fsync(file.fileno())
        partial.rename(path)
    except FileExistsError as error:
        raise BackupError(f"{partial} is there: another backup is running, or one was broken off.") from error
    except (OSError, BackupError) as error:
        partial.unlink(missing_ok=True)
        raise BackupError(f"No backup was written: {error}") from error


def backup_restore(path: Path) -> None:
    """All of it or nothing, in one transaction. The caller has made sure that nothing is overwritten."""
    *server, database = _server()
    options = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    connection.close()
    with ExitStack() as stack:
        try:
            source = sys.stdin.buffer if path == STANDARD_STREAM else stack.enter_context(path.open("rb"))
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror}.") from error
        _run("pg_restore", [*options, *server, f"--dbname={database}"], stdin=source.fileno())


def contents() -> Contents:
    """Every stored file is hashed again, by the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (SELECT count(*) FROM diagnosis_case), (SELECT count(*) FROM diagnosis_smearimage),
                (SELECT count(*) FROM diagnosis_report),
                (SELECT count(*) FROM diagnosis_smearimage image WHERE NOT EXISTS (
                    SELECT FROM diagnosis_storedblob blob WHERE blob.sha256 = image.sha256
                )),
                (SELECT count(*) FROM diagnosis_storedblob WHERE encode(sha256(data), 'hex') <> sha256)
            """
        )
        return Contents(*cursor.fetchone())


def _server() -> list[str]:
    """As `psql` wants it named; the database comes last."""
    arguments, _ = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
    return [str(argument) for argument in arguments[1:]]


def _run(
    tool: str, arguments: list[str], *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> None:
    _, secrets = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
    environment = {**os.environ, **(secrets or {})}
    command = [_tool(tool), "--no-password", *arguments]
    done = subprocess.run(command, env=environment, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BackupError(said[-1] if said else f"{tool} ended with {done.returncode}.")


def _tool(name: str) -> str:
    try:
        return str(binaries() / name)
    except CannotStart:
        found = shutil.which(name)
    if found is None:
        raise BackupError(f"There is no {name} here: install PostgreSQL's client programs.")
    return found
