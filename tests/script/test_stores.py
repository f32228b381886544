"""PostgreSQL and Redis as script/server starts them: real ones, in a folder of the test's own."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from portal.local import CannotStart
from portal.local.postgres_server import QUICK, PostgresServer
from portal.local.redis_server import RedisServer

Starter = Callable[[PostgresServer | RedisServer], None]


@pytest.fixture
def start() -> Iterator[Starter]:
    """Bring a store up the way the server does; whatever was started is stopped with the test."""
    started: list[PostgresServer | RedisServer] = []

    def bring_up(store: PostgresServer | RedisServer) -> None:
        store.prepare()
        started.append(store)
        store.service.start()
        store.wait_until_ready(time.sleep)

    yield bring_up
    for store in started:
        store.service.stop()


def new_postgres(folder: Path) -> PostgresServer:
    return PostgresServer(folder / "postgres", log=folder / "postgres.log", settings=QUICK)


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_it_keeps_data_and_recovers_from_being_killed(tmp_path: Path, start: Starter) -> None:
    first = new_postgres(tmp_path)
    start(first)
    execute(first.url, "CREATE TABLE kept AS SELECT 7 AS number")
    execute(first.url, "CHECKPOINT")
    first.service.kill()
    assert (first.directory / "postmaster.pid").exists(), "killed: it had no time to clean up"

    second = new_postgres(tmp_path)
    start(second)
    assert execute(second.url, "SELECT number FROM kept") == [(7,)]


def test_a_lock_with_a_number_now_somebody_elses_is_no_obstacle(tmp_path: Path, start: Starter) -> None:
    postgres = new_postgres(tmp_path)
    postgres.prepare()
    alive = os.getppid()
    (postgres.directory / "postmaster.pid").write_text(f"{alive}\n{postgres.directory}\n")
    start(postgres)
    assert execute(postgres.url, "SELECT 1") == [(1,)]


def test_a_cluster_made_half_way_is_made_again(tmp_path: Path, start: Starter) -> None:
    (tmp_path / "postgres.partial" / "base").mkdir(parents=True)
    (tmp_path / "postgres.partial" / "PG_VERSION").write_text("18\n")
    postgres = new_postgres(tmp_path)
    start(postgres)
    assert execute(postgres.url, "SELECT 1") == [(1,)]
    assert not (tmp_path / "postgres.partial").exists()


def test_the_path_of_the_checkout_may_be_long_and_have_spaces(tmp_path: Path, start: Starter) -> None:
    folder = tmp_path / ("a long way down " * 8) / "var"
    folder.mkdir(parents=True)
    assert len(str(folder)) > 107, "longer than a Unix socket's path may be"
    postgres = new_postgres(folder)
    start(postgres)
    assert execute(postgres.url, "SELECT 1") == [(1,)]
    cache = RedisServer(folder / "redis", log=folder / "redis.log")
    start(cache)
    assert redis.Redis.from_url(cache.url).ping()


def test_postgres_lets_nobody_in_without_the_password(tmp_path: Path, start: Starter) -> None:
    postgres = new_postgres(tmp_path)
    start(postgres)
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(
            host="127.0.0.1", port=postgres.port, user="leukoscope", dbname="leukoscope", password="guess"
        )
    assert postgres.password_file.stat().st_mode & 0o077 == 0


def test_postgres_never_runs_as_root(tmp_path: Path, start: Starter) -> None:
    postgres = new_postgres(tmp_path)
    start(postgres)
    process = psutil.Process(postgres.service.pid)
    assert process.name() == "postgres"
    assert 0 not in process.uids()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can close a folder to everyone but root")
def test_root_may_keep_the_checkout_where_nobody_else_can_go(start: Starter, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    postgres = new_postgres(closed / "var")
    start(postgres)
    assert execute(postgres.url, "SELECT 1") == [(1,)]
    assert closed.stat().st_mode & 0o777 == 0o700, "no permission outside the data was touched"
    kept = [line for line in Path(f"/proc/{postgres.service.pid}/status").read_text().splitlines() if "CapEff" in line]
    assert int(kept[0].split()[1], 16) == 1 << 1, "the one capability to walk there, and no other"


def test_redis_lets_nobody_in_without_the_password(tmp_path: Path, start: Starter) -> None:
    cache = RedisServer(tmp_path / "redis", log=tmp_path / "redis.log")
    start(cache)
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=cache.port).ping()
    assert (tmp_path / "redis" / "redis.conf").stat().st_mode & 0o077 == 0
    assert cache.url.split(":")[2].split("@")[0] not in " ".join(psutil.Process(cache.service.pid).cmdline())


def test_a_store_that_cannot_start_shows_what_it_wrote(tmp_path: Path) -> None:
    postgres = new_postgres(tmp_path)
    postgres.prepare()
    shutil.rmtree(postgres.directory / "global")
    postgres.service.start()
    try:
        with pytest.raises(CannotStart, match=r"(?s)PostgreSQL did not start.*global"):
            postgres.wait_until_ready(time.sleep)
    finally:
        postgres.service.stop()
