"""What administrators do with models and runs, and that they change nothing else."""

import pytest
from django.test import Client

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.errors import ServiceError
from diagnosis.models import Case, ModelVersion, PredictionRun
from diagnosis.services.predictions import model_version_activate
from diagnosis.services.timeline import access_record
from diagnosis.states import AccessedKind, ModelStatus, RunState
from tests.conftest import SignedIn
from tests.factories import ModelVersionFactory, end_run, make_user, submitted_case

pytestmark = pytest.mark.django_db

RUNS = "/admin/diagnosis/predictionrun/"
MODELS = "/admin/diagnosis/modelversion/"


@pytest.fixture
def browser(administrator: User) -> Client:
    return SignedIn(administrator)


@pytest.fixture
def failed(technician: User, model_version: ModelVersion) -> PredictionRun:
    run = PredictionRun.objects.get(image__case=submitted_case(technician, images=1))
    end_run(run, state=RunState.FAILED)
    return run


def act(browser: Client, url: str, action: str, *rows: object) -> None:
    browser.post(url, {"action": action, "_selected_action": [str(row.pk) for row in rows]})


def test_a_failed_run_is_queued_again(failed: PredictionRun, browser: Client, administrator: User) -> None:
    act(browser, RUNS, "retry", failed)
    failed.refresh_from_db()
    assert failed.state == RunState.QUEUED
    assert failed.image.case.timeline.last().actor == administrator


def test_not_one_of_another_site(failed: PredictionRun, other_site: Site) -> None:
    browser = SignedIn(make_user(Role.ADMINISTRATOR, other_site))
    act(browser, RUNS, "retry", failed)
    failed.refresh_from_db()
    assert failed.state == RunState.FAILED
    assert failed.image.case.accession_number not in browser.get(RUNS).content.decode()


def test_the_audit_trail_tells_the_newest_first_and_in_words(
    technician: User, browser: Client, model_version: ModelVersion
) -> None:
    submitted_case(technician, images=1)
    page = browser.get("/admin/diagnosis/timelineevent/").content.decode()
    assert page.index("Draft → Submitted") < page.index(">Created<")


def test_one_that_succeeded_stays_as_it_is(technician: User, browser: Client, model_version: ModelVersion) -> None:
    run = PredictionRun.objects.get(image__case=submitted_case(technician, images=1))
    end_run(run)
    act(browser, RUNS, "retry", run)
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED


def test_what_the_model_saw_is_not_for_administrators(
    technician: User, browser: Client, model_version: ModelVersion
) -> None:
    run = PredictionRun.objects.get(image__case=submitted_case(technician, images=1))
    end_run(run, "Pro", 0.8731)
    page = browser.get(f"{RUNS}{run.pk}/change/").content.decode()
    assert "0.8731" not in page
    assert "Pro" not in page.replace("Probabilit", "")


class TestModels:
    def test_who_looks_after_all_sites_activates(self, model_version: ModelVersion) -> None:
        later = ModelVersionFactory(status=ModelStatus.CANDIDATE)
        act(SignedIn(make_user(Role.ADMINISTRATOR, None)), MODELS, "activate", later)
        model_version.refresh_from_db()
        later.refresh_from_db()
        assert (model_version.status, later.status) == (ModelStatus.RETIRED, ModelStatus.ACTIVE)

    def test_a_sites_administrator_does_not(self, model_version: ModelVersion, browser: Client) -> None:
        later = ModelVersionFactory(status=ModelStatus.CANDIDATE)
        act(browser, MODELS, "activate", later)
        later.refresh_from_db()
        assert later.status == ModelStatus.CANDIDATE

    def test_an_experimental_one_needs_a_waiver_which_is_kept(self) -> None:
        version = ModelVersionFactory(task="lineage", status=ModelStatus.CANDIDATE)
        version.manifest |= {"experimental": True, "caveats": ["Glass alone tells them apart."], "limitations": []}
        version.save()
        chief = make_user(Role.ADMINISTRATOR, None)
        browser, asked = SignedIn(chief), {"action": "activate", "_selected_action": [str(version.pk)]}
        page = browser.post(MODELS, asked).content.decode()
        assert "Glass alone tells them apart." in page
        assert "errorlist" not in page
        page = browser.post(MODELS, asked | {"waiver": "  "}).content.decode()
        assert "Say why this experimental model may serve nevertheless." in page
        version.refresh_from_db()
        assert (version.status, version.activations.count()) == (ModelStatus.CANDIDATE, 0)
        browser.post(MODELS, asked | {"waiver": "A trial beside flow cytometry."})
        version.refresh_from_db()
        kept = version.activations.get()
        assert (version.status, kept.actor, kept.waiver) == (
            ModelStatus.ACTIVE,
            chief,
            "A trial beside flow cytometry.",
        )
        assert "A trial beside flow cytometry." in browser.get(f"{MODELS}{version.pk}/change/").content.decode()

    def test_the_service_itself_wants_the_waiver(self) -> None:
        version = ModelVersionFactory(task="lineage", status=ModelStatus.CANDIDATE)
        version.manifest |= {"experimental": True}
        with pytest.raises(ServiceError, match="Say why"):
            model_version_activate(model_version=version, waiver=" ")

    def test_every_activation_is_recorded(self, model_version: ModelVersion) -> None:
        later = ModelVersionFactory(status=ModelStatus.CANDIDATE)
        chief = make_user(Role.ADMINISTRATOR, None)
        act(SignedIn(chief), MODELS, "activate", later)
        assert later.activations.get().actor == chief

    def test_one_at_a_time(self, model_version: ModelVersion) -> None:
        rows = [ModelVersionFactory(task=task, status=ModelStatus.CANDIDATE) for task in ("wbc-type", "lineage")]
        act(SignedIn(make_user(Role.ADMINISTRATOR, None)), MODELS, "activate", *rows)
        assert ModelVersion.objects.filter(status=ModelStatus.ACTIVE).count() == 1


@pytest.mark.parametrize("model", ["timelineevent", "accessevent", "predictionrun", "modelversion"])
def test_rows_are_looked_at_and_never_changed(
    model: str, failed: PredictionRun, technician: User, browser: Client
) -> None:
    case = failed.image.case
    access_record(user=technician, case=case, what=AccessedKind.CASE, object_id=case.pk)
    rows = {
        "timelineevent": case.timeline.last(),
        "accessevent": case.access_events.get(),
        "predictionrun": failed,
        "modelversion": failed.model_version,
    }
    page = browser.get(f"/admin/diagnosis/{model}/")
    assert page.status_code == 200
    assert "delete_selected" not in page.content.decode()
    url = f"/admin/diagnosis/{model}/{rows[model].pk}/"
    assert browser.get(f"{url}change/").status_code == 200
    for step in ("change", "delete"):
        assert browser.post(f"{url}{step}/", {"post": "yes", "state": "queued"}).status_code == 403
    assert Case.objects.filter(pk=case.pk).exists()
