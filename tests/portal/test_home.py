"""Everybody's way in, and what the machines around us are told."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as portal_settings
from django.test import Client
from pytest_django import Settings

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.models import ModelVersion, PredictionRun, WorkerHeartbeat
from diagnosis.selectors.queue import LOADING, SWEEPER
from diagnosis.states import Priority, RunState
from tests.conftest import SignedIn
from tests.factories import end_run, make_user, submitted_case

HOMES = {
    Role.TECHNICIAN: "/cases/",
    Role.HAEMATOLOGIST: "/worklist/",
    Role.ADMINISTRATOR: "/administration/",
}


@pytest.mark.django_db
class TestHome:
    @pytest.mark.parametrize("role", Role)
    def test_each_role_has_its_own(self, role: Role, site: Site) -> None:
        browser = SignedIn(make_user(role, site))
        assert browser.get("/")["Location"] == HOMES[role]
        page = browser.get("/", follow=True)
        assert page.status_code == 200
        shown = [entry.url_name for entry in page.context["nav"]]
        assert ("diagnosis:case_new" in shown) == (role == Role.TECHNICIAN)

    def test_who_has_no_role_is_told_so(self, site: Site) -> None:
        user = User.objects.create_user("nobody", site=site)
        assert SignedIn(user).get("/").status_code == 403

    def test_a_superuser_administrates(self, db: None) -> None:
        assert SignedIn(User.objects.create_superuser("root")).get("/")["Location"] == "/administration/"

    @pytest.mark.parametrize("role", Role)
    def test_every_page_says_research_use_only(self, role: Role, site: Site) -> None:
        page = SignedIn(make_user(role, site)).get("/", follow=True).content.decode()
        assert "Research use only" in page


@pytest.mark.django_db
class TestHealth:
    @pytest.fixture
    def all_well(self, model_version: ModelVersion) -> None:
        WorkerHeartbeat.objects.create(name="worker-1", ready=True, device="cpu", backend="eager")
        WorkerHeartbeat.objects.create(name=SWEEPER, ready=True)

    def test_all_is_well(self, client: Client, all_well: None) -> None:
        answer = client.get("/health/")
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        assert set(answer.json()["checks"]) == {"database", "redis", "worker", "beat", "model"}

    @pytest.mark.parametrize(("part", "name"), [("worker", "worker-1"), ("beat", SWEEPER)])
    def test_a_part_that_is_silent_shows(self, part: str, name: str, client: Client, all_well: None) -> None:
        WorkerHeartbeat.objects.filter(name=name).delete()
        answer = client.get("/health/")
        assert answer.status_code == 503
        assert [key for key, check in answer.json()["checks"].items() if not check["ok"]] == [part]

    def test_a_worker_says_why_it_does_not_work(self, client: Client, all_well: None) -> None:
        WorkerHeartbeat.objects.filter(name="worker-1").update(ready=False, message="Wrong weights hash.")
        assert client.get("/health/").json()["checks"]["worker"]["message"] == "Wrong weights hash."

    @pytest.mark.parametrize(("message", "starting"), [(LOADING, True), ("Wrong weights hash.", False), (None, True)])
    def test_it_tells_a_worker_that_begins_from_one_that_cannot(
        self, message: str | None, starting: bool, client: Client, all_well: None
    ) -> None:
        worker = WorkerHeartbeat.objects.filter(name="worker-1")
        if message is None:
            worker.delete()
        else:
            worker.update(ready=False, message=message)
        assert client.get("/health/").json()["checks"]["worker"]["starting"] is starting

    def test_redis_away_shows_within_a_second(self, client: Client, all_well: None, settings: Settings) -> None:
        settings.REDIS_URL = "redis://127.0.0.1:1/0"
        answer = client.get("/health/")
        assert answer.json()["status"] == "degraded"
        assert not answer.json()["checks"]["redis"]["ok"]

    def test_people_get_a_page(self, client: Client, all_well: None) -> None:
        answer = client.get("/health/", headers={"Accept": "text/html"})
        assert answer.headers["Content-Type"].startswith("text/html")

    def test_it_tells_what_waits_and_how_fast_it_is_done(
        self, client: Client, all_well: None, technician: User, administrator: User
    ) -> None:
        submitted_case(technician, images=4, priority=Priority.URGENT)
        done, failed = PredictionRun.objects.all()[:2]
        end_run(done)
        end_run(failed, state=RunState.FAILED)
        told = client.get("/health/").json()["queue"]
        assert told["queued"] == {"STAT": 0, "Urgent": 2, "Routine": 0, "Backfill": 0}
        assert (told["running"], told["leases_expired"], told["failed"], told["finished_in_window"]) == (0, 0, 1, 1)
        assert told["batch_size_mean"] == 1.0
        assert set(told["last_error"]) == {"at", "state", "attempts"}, "its words may name what is nobody's business"
        page = SignedIn(administrator).get("/health/", headers={"Accept": "text/html"}).content.decode()
        assert "2 Urgent" in page
        assert "It broke." in page

    def test_it_tells_passers_by_no_name_and_no_address(
        self, client: Client, all_well: None, technician: User
    ) -> None:
        said = client.get("/health/").content.decode()
        for secret in (technician.username, portal_settings.DATABASES["default"]["HOST"], "worker-1"):
            assert secret not in said


def test_alive_needs_no_database(client: Client) -> None:
    assert client.get("/live/").content == b"ok"


def test_the_web_does_not_load_torch() -> None:
    code = (
        "import sys, django; django.setup(); import portal.urls; sys.exit(not {'torch', 'ml'}.isdisjoint(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=120).returncode == 0
