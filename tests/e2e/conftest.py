"""A whole portal for the browser: web, worker and beat as script/server runs them, on a database of their own."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, Page
from playwright.sync_api import Error as PlaywrightError

from portal.local import ROOT, VAR
from portal.local.commands import collect_static, manage
from portal.local.health import ask_health
from portal.local.network import free_port
from portal.local.server import portal_services
from portal.local.stopping import StopRequest
from portal.local.supervisor import Supervisor
from tests.factories import PASSWORD

SCREENSHOTS = VAR / "screenshots"
HEALTHY_WITHIN_SECONDS = 120

PEOPLE = """
from accounts.models import Site
from accounts.roles import Role
from accounts.services import user_create
north = Site.objects.create(name="North laboratory", code="north")
south = Site.objects.create(name="South laboratory", code="south")
password = {password!r}
for username, role, site, first, last in [
    ("tess", Role.TECHNICIAN, north, "Tess", "Nowak"),
    ("hana", Role.HAEMATOLOGIST, north, "Hana", "Chen"),
    ("hugo", Role.HAEMATOLOGIST, north, "Hugo", "Berg"),
    ("tom", Role.TECHNICIAN, south, "Tom", "Okafor"),
    ("ada", Role.ADMINISTRATOR, None, "Ada", "Osei"),
]:
    user_create(username=username, password=password, role=role, site=site, first_name=first, last_name=last)
"""


@dataclass
class Portal:
    """A running portal and how to look into it."""

    address: str
    supervisor: Supervisor
    environment: dict[str, str]
    people: tuple[str, ...] = ("tess", "hana", "hugo", "tom", "ada")
    folder: Path = field(default_factory=Path)

    def shell(self, code: str) -> str:
        """What the code prints when it is run in this portal's Django."""
        done = subprocess.run(
            [*manage("shell", "-v0", "-c", code)], env=self.environment, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    folder = tmp_path_factory.mktemp("portal")
    environment = _environment(_own_database())
    stop = StopRequest()
    for step in (["migrate", "--noinput", "-v0"], ["register_models"]):
        subprocess.run(manage(*step), env=environment, cwd=ROOT, check=True)
    collect_static(environment, stop)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    supervisor = Supervisor(folder / "processes.json", report=lambda service: None)
    running = Portal(address, supervisor, environment, folder=folder)
    running.shell(PEOPLE.format(password=PASSWORD))
    try:
        for service in portal_services(argparse.Namespace(host="127.0.0.1", port=port), environment):
            service.log = folder / f"{service.name}.log"
            supervisor.start(service)
        _wait_until_healthy(address, supervisor)
        yield running
    finally:
        supervisor.stop()


def _own_database() -> str:
    """An empty database beside the one of the other tests; its address."""
    test = settings.DATABASES["default"]
    name = "leukoscope_e2e"
    connection = psycopg2.connect(
        host=test["HOST"], port=test["PORT"] or None, user=test["USER"], password=test["PASSWORD"], dbname="postgres"
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {name}")
    connection.close()
    given = os.environ["DATABASE_URL"]
    address, _, options = given.partition("?")
    return address.rpartition("/")[0] + "/" + name + (f"?{options}" if options else "")


def _environment(database_url: str) -> dict[str, str]:
    redis, _, _ = os.environ["REDIS_URL"].partition("?")
    parts = redis.rsplit("/", 1)
    other_redis = f"{parts[0]}/7" if redis.startswith("redis://") and parts[-1].isdigit() else os.environ["REDIS_URL"]
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": other_redis,
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "PYTHONPATH": str(ROOT),
        "WEB_CONCURRENCY": "1",
        "INFERENCE_BACKEND": "autocast",  # nothing is compiled beside a browser that waits
    }


def _wait_until_healthy(address: str, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN_SECONDS
    while not (health := ask_health(address)).ok:
        assert time.monotonic() < deadline, health.troubles
        supervisor.tend()
        time.sleep(0.3)


class Seat:
    """Somebody at a screen: a browser context of their own, and what went wrong in it."""

    def __init__(self, context: BrowserContext, portal: Portal) -> None:
        self.portal = portal
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: object) -> None:
        text = str(message.text)
        # A refused form answers 422 and a foreign case 404: the browser logs both, and both are meant.
        if message.type == "error" and "status of 4" not in text:
            self.problems.append(text)

    def sign_in(self, username: str) -> Page:
        self.page.goto(f"{self.portal.address}/accounts/sign-in/")
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_load_state("networkidle")
        return self.page

    def on_screen(self) -> str:
        """Address and words of the page, and what went wrong in it."""
        try:
            words = self.page.locator("main").inner_text(timeout=2000)[:2000]
        except PlaywrightError as problem:
            words = f"(cannot be read: {problem})"
        return "\n".join([self.page.url, *self.problems, words])

    def picture(self, name: str) -> None:
        """Keep a screenshot for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport]:
    """A test that failed says what its people had on their screens: where it runs unwatched nobody can look."""
    report = yield
    if report.when == "call" and report.failed:
        for number, taken in enumerate(getattr(getattr(item, "funcargs", {}).get("seat"), "seats", ()), start=1):
            report.sections.append((f"Screen of seat {number}", taken.on_screen()))
    return report


@pytest.fixture
def seat(browser: Browser, portal: Portal) -> Iterator[object]:
    """Make seats; at the end none of them may have seen a script error or a CSP report."""
    contexts: list[BrowserContext] = []
    seats: list[Seat] = []

    def take(**options: object) -> Seat:
        context = browser.new_context(viewport={"width": 1280, "height": 860}, **options)
        contexts.append(context)
        seats.append(Seat(context, portal))
        return seats[-1]

    take.seats = seats  # type: ignore[attr-defined]
    yield take
    problems = [problem for taken in seats for problem in taken.problems]
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="session")
def command_line(portal: Portal) -> object:
    """What `python -m ml.predict` says of files, by path."""

    weights = portal.shell(
        "from django.conf import settings; from diagnosis.models import ModelVersion; "
        "m = ModelVersion.objects.get(status='active', input_kind='field'); "
        "print(settings.MODELS_DIR / m.task / m.version)"
    ).splitlines()[-1]

    def predict(paths: list[Path]) -> dict[str, dict]:
        done = subprocess.run(
            [sys.executable, "-m", "ml.predict", *map(str, paths), "--json", "--weights", weights],
            env=portal.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return {entry["path"]: entry for entry in map(json.loads, done.stdout.splitlines())}

    return predict
