"""A laboratory is written to one file and comes back from it: every row, every image, and what still waited."""

import hashlib
import subprocess
from pathlib import Path

import psycopg2
import pytest
from django.db import connection

from accounts.roles import Role
from diagnosis.models import Case
from diagnosis.states import CaseState, RunState
from portal.local import ROOT
from portal.local.commands import manage
from tests.factories import make_user, signed_case
from tests.faults.conftest import Laboratory, new_database, use_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


def run(laboratory: Laboratory, *command: str, database: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(laboratory.environment)
    if database:
        environment["DATABASE_URL"] = laboratory.stores.database_url(database)
    return subprocess.run(manage(*command), env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def rows(url: str) -> dict[str, int]:
    """How many every table holds, and what the stored files hash to."""
    session = psycopg2.connect(url)
    try:
        with session.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            tables = [name for (name,) in cursor.fetchall()]
            counts = {}
            for table in tables:
                cursor.execute(f'SELECT count(*) FROM "{table}"')  # noqa: S608 - a name the database gave us
                counts[table] = cursor.fetchone()[0]
            return counts
    finally:
        session.close()


def files(url: str) -> dict[str, str]:
    session = psycopg2.connect(url)
    try:
        with session.cursor() as cursor:
            cursor.execute("SELECT sha256, data FROM diagnosis_storedblob")
            return {name: hashlib.sha256(data).hexdigest() for name, data in cursor.fetchall()}
    finally:
        session.close()


@pytest.fixture
def written(laboratory: Laboratory, tmp_path: Path) -> Path:
    """A backup of a laboratory with a signed case, one whose images wait, and a draft."""
    signed_case(laboratory.technician, make_user(Role.HAEMATOLOGIST, laboratory.technician.site))
    laboratory.hand_in(3)
    laboratory.draft(1)
    path = tmp_path / "laboratory.backup"
    done = run(laboratory, "backup", str(path))
    assert done.returncode == 0, done.stderr
    assert path.stat().st_mode & 0o077 == 0, "patients' names are in it"
    return path


def test_everything_comes_back_and_what_waited_is_done(laboratory: Laboratory, written: Path) -> None:
    source = laboratory.environment["DATABASE_URL"]
    with new_database(laboratory.stores, "restored", template="template0") as url:
        done = run(laboratory, "restore", str(written), database="restored")
        assert done.returncode == 0, done.stderr
        assert "3 cases, 6 images and 1 reports are restored" in done.stdout
        assert "1 report versions are what was signed" in done.stdout
        assert rows(url) == rows(source)
        assert files(url) == files(source)
        assert all(name == hashed for name, hashed in files(url).items())

        laboratory.environment["DATABASE_URL"] = url
        with use_database(url):
            laboratory.start_worker()
            laboratory.start_beat()
            laboratory.until(lambda: not Case.objects.filter(state=CaseState.SUBMITTED).exists())
            assert laboratory.states() == {RunState.SUCCEEDED: 5}
            laboratory.kill(laboratory.processes[0])


def test_nothing_is_ever_written_over_and_half_a_backup_changes_nothing(
    laboratory: Laboratory, written: Path, tmp_path: Path
) -> None:
    again = run(laboratory, "backup", str(written))
    assert "is there already" in again.stderr
    here = rows(laboratory.environment["DATABASE_URL"])
    done = run(laboratory, "restore", str(written))
    assert "There are cases here" in done.stderr
    assert rows(laboratory.environment["DATABASE_URL"]) == here

    half = tmp_path / "half.backup"
    half.write_bytes(written.read_bytes()[: written.stat().st_size // 2])
    with new_database(laboratory.stores, "fresh", template="leukoscope") as url:
        before = rows(url)
        done = run(laboratory, "restore", str(half), database="fresh")
        assert done.returncode != 0
        assert "Nothing was changed" in done.stderr
        assert rows(url) == before

    lost = run(laboratory, "backup", str(tmp_path / "lost.backup"), database="nowhere")
    assert 'database "nowhere" does not exist' in lost.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {written.name, half.name}
    assert not list(tmp_path.glob("lost*")), "what could not be written leaves nothing behind"


def test_it_goes_through_a_pipe_and_a_file_altered_in_the_database_is_found(laboratory: Laboratory) -> None:
    """As containers do it, which share no folder; into an installation that was just set up."""
    laboratory.draft(1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE diagnosis_storedblob SET data = 'rotten' WHERE content_type = 'image/jpeg'")
    with new_database(laboratory.stores, "piped", template="leukoscope"):
        environment = {**laboratory.environment, "DATABASE_URL": laboratory.stores.database_url("piped")}
        backup = subprocess.Popen(manage("backup", "-"), env=laboratory.environment, cwd=ROOT, stdout=subprocess.PIPE)
        done = subprocess.run(
            manage("restore", "-"), env=environment, cwd=ROOT, stdin=backup.stdout, capture_output=True, text=True
        )
        assert backup.wait(60) == 0
    assert done.returncode != 0
    assert "1 cases, 1 images" in done.stdout
    assert "1 files are not what they were" in done.stderr
