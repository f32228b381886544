"""Servers and workers of these tests' own, to be killed, stopped and lied to. A new database for every test."""

import argparse
import itertools
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environ
import psutil
import pytest
import redis
from django.db import connection

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.models import Case, PredictionRun, SmearImage, WorkerHeartbeat
from diagnosis.services.cases import case_submit
from portal.local import ROOT
from portal.local.commands import manage
from portal.local.postgres_server import QUICK, PostgresServer
from portal.local.redis_server import RedisServer
from portal.local.server import portal_services
from portal.local.service import Service
from tests.factories import CaseFactory, add_image, make_user
from tests.worker.released import write_release

_numbers = itertools.count(1)


@dataclass
class Stores:
    postgres: PostgresServer
    redis: RedisServer
    models: Path

    def database_url(self, name: str) -> str:
        return self.postgres.url.rpartition("/")[0] + f"/{name}"


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """A PostgreSQL whose first database is migrated and knows a model: the template of every test's own."""
    folder = tmp_path_factory.mktemp("faults")
    postgres = PostgresServer(folder / "postgres", log=folder / "postgres.log", settings=QUICK)
    broker = RedisServer(folder / "redis", log=folder / "redis.log")
    made = Stores(postgres, broker, folder / "models")
    write_release(made.models)
    try:
        for store in (postgres, broker):
            store.prepare()
            store.service.start()
            store.wait_until_ready(time.sleep)
        environment = {**os.environ, "DATABASE_URL": postgres.url, "MODELS_DIR": str(made.models)}
        for command in (("migrate", "-v0"), ("register_models",)):
            subprocess.run(manage(*command), check=True, env=environment, cwd=ROOT, capture_output=True)
        yield made
    finally:
        broker.service.stop()
        postgres.service.stop()


@dataclass
class Laboratory:
    """One test's portal: its own database, the broker, and whatever processes it starts."""

    stores: Stores
    folder: Path
    environment: dict[str, str]
    technician: User
    processes: list[Service] = field(default_factory=list)

    def hand_in(self, images: int, **values: Any) -> Case:
        """Submit a case with so many images."""
        case = self.draft(images, **values)
        case_submit(case=case, actor=self.technician)
        case.refresh_from_db()
        return case

    def draft(self, images: int, **values: Any) -> Case:
        case = CaseFactory(submitted_by=self.technician, **values)
        for _ in range(images):
            add_image(case)
        return case

    def hand_in_copies(self, count: int, *, of: Case) -> list[Case]:
        """Cases that show the images of this one, quicker than uploading them anew."""
        return [self._hand_in_copy(of) for _ in range(count)]

    def _hand_in_copy(self, of: Case) -> Case:
        case = self.draft(0)
        images = list(of.images.all())
        for image in images:
            image.pk, image.case, image._state.adding = uuid.uuid4(), case, True
        SmearImage.objects.bulk_create(images)
        case_submit(case=case, actor=self.technician)
        return case

    def start_worker(self, app: str = "worker.celery:app", **variables: str) -> Service:
        return self._start(0, app, variables)

    def start_beat(self, **variables: str) -> Service:
        return self._start(1, "worker.celery:app", variables)

    def _start(self, which: int, app: str, variables: dict[str, str]) -> Service:
        """With the very command that script/server uses."""
        environment = {**self.environment, **variables}
        options = argparse.Namespace(host="127.0.0.1", port=0)
        command = [*itertools.islice(portal_services(options, environment), which + 1)][which].command
        command = [app if part == "worker.celery:app" else part for part in command]
        if which == 1:
            command.append(f"--schedule={self.folder / 'beat'}")
        log = self.folder / f"{which}-{next(_numbers)}.log"
        service = Service(f"process {which}", command, log=log, environment=environment)
        service.start()
        self.processes.append(service)
        return service

    def until(self, condition: Callable[[], Any], seconds: float = 150.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not in time, {self.states()}:\n" + "\n".join(
                f"--- {process.log.name}\n{process.log_tail(15)}" for process in self.processes
            )
            time.sleep(0.1)

    def states(self) -> dict[str, int]:
        found = list(PredictionRun.objects.values_list("state", flat=True))
        return {state: found.count(state) for state in set(found)}

    def worker_ready(self, count: int = 1) -> bool:
        return WorkerHeartbeat.objects.filter(ready=True).exclude(name="sweeper").count() == count

    def kill(self, service: Service) -> None:
        """The worker and its children at one blow, as when the machine loses power."""
        for process in psutil.Process(service.pid).children(recursive=True):
            process.kill()
        service.kill()


@pytest.fixture
def laboratory(
    stores: Stores, tmp_path: Path, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Laboratory]:
    name = f"faults_{next(_numbers)}"
    url = stores.database_url(name)
    with redis.Redis.from_url(stores.redis.url) as client:
        client.flushall()
    monkeypatch.setenv("CELERY_BROKER_URL", stores.redis.url)
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "REDIS_URL": stores.redis.url,
        "MODELS_DIR": str(stores.models),
        "SWEEP_SECONDS": "1",
        "OMP_NUM_THREADS": "1",
        "INFERENCE_BACKEND": "eager",
    }
    with new_database(stores, name, template="leukoscope") as url, django_db_blocker.unblock(), use_database(url):
        site = Site.objects.create(name="Faults laboratory", code="FLT")
        made = Laboratory(stores, tmp_path, environment, make_user(Role.TECHNICIAN, site))
        try:
            yield made
        finally:
            for process in made.processes:
                if process.running:
                    made.kill(process)
            forget_broker()


def forget_broker() -> None:
    """Celery keeps its first connection for good: to this laboratory's Redis, which later tests know nothing of."""
    from worker.celery import app

    app._pool = None
    app.amqp._producer_pool = None


@contextmanager
def new_database(stores: Stores, name: str, *, template: str) -> Iterator[str]:
    _execute(stores, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield stores.database_url(name)
    finally:
        _execute(stores, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def use_database(url: str) -> Iterator[None]:
    """What the test itself asks and writes goes there."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(environ.Env.db_url_config(url))
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.clear()
        connection.settings_dict.update(before)


def _execute(stores: Stores, statement: str) -> None:
    import psycopg2

    session = psycopg2.connect(stores.postgres.url)
    try:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(statement)
    finally:
        session.close()
