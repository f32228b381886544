"""manage.py demo_laboratory: what a visitor finds, and what it never does.

The workers are played by the test: whenever the command waits, they end what is queued.
"""

import io
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.demo import plan
from diagnosis.demo.plan import MARK, Ending, PlannedCase
from diagnosis.management.commands import demo_laboratory
from diagnosis.models import Case, ModelVersion, Patient, PredictionRun, Reading, SmearImage, WorkerHeartbeat
from diagnosis.selectors.cases import tat_target
from diagnosis.services.cases import case_advance
from diagnosis.states import CaseState, Priority, ReadingDecision, RunState
from tests.factories import end_run, smear_jpeg, submitted_case

Command = Callable[..., str]


@pytest.fixture
def accounts_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "accounts.txt"
    monkeypatch.setattr("accounts.management.commands.first_run.FILE", file)
    monkeypatch.setattr(demo_laboratory, "FILE", file)
    return file


@pytest.fixture
def installation(db: None, model_version: ModelVersion, accounts_file: Path) -> Site:
    """An empty portal after its first start."""
    call_command("first_run", stdout=io.StringIO())
    return Site.objects.get()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    """A ready worker, which predicts while others sleep."""
    WorkerHeartbeat.objects.create(name="here:1", ready=True)
    monkeypatch.setattr(demo_laboratory.time, "sleep", lambda seconds: predict_all())


def predict_all() -> None:
    for run in PredictionRun.objects.filter(state=RunState.QUEUED):
        end_run(run, "Early")
    for case in Case.objects.filter(state=CaseState.SUBMITTED):
        case_advance(case=case)


def demonstrate(*arguments: str) -> str:
    out = io.StringIO()
    call_command("demo_laboratory", *arguments, stdout=out)
    return out.getvalue()


def only(monkeypatch: pytest.MonkeyPatch, *endings: Ending) -> tuple[PlannedCase, ...]:
    """A smaller demonstration: the first planned case of each ending."""
    cases = tuple(next(case for case in plan.CASES if case.ending == ending) for ending in endings)
    monkeypatch.setattr(demo_laboratory, "CASES", cases)
    return cases


@pytest.mark.slow
def test_there_is_a_case_in_every_state_and_all_of_it_holds_together(
    installation: Site, workers: None, accounts_file: Path
) -> None:
    said = demonstrate()
    assert "ready" in said
    states = Counter(Case.objects.values_list("state", flat=True))
    assert set(states) == set(CaseState.values)
    assert sum(states.values()) == len(plan.CASES)
    assert 40 <= SmearImage.objects.count() <= 60
    assert Patient.objects.count() == 14
    assert set(Case.objects.values_list("priority", flat=True)) == {Priority.STAT, Priority.URGENT, Priority.ROUTINE}
    assert Case.objects.filter(returned_reason="").filter(state=CaseState.RETURNED).count() == 0

    for case in Case.objects.exclude(submitted_at=None).select_related("site"):
        assert case.created_at < case.submitted_at
        if case.signed_at:
            assert case.signed_at - case.submitted_at < tat_target(case)
            assert case.reports.exists()
    assert Case.objects.filter(reports__version=2, reports__status="amended").count() == 1
    assert Reading.objects.filter(image=None, decision=ReadingDecision.OVERRIDE).exclude(reason="").count() == 1
    assert not SmearImage.objects.filter(created_at__lt=F("case__created_at")).exists()

    assert Site.objects.count() == 2
    for site in Site.objects.all():
        roles = Counter(user.role for user in site.users.all())
        assert roles[Role.TECHNICIAN] == 1
        assert roles[Role.HAEMATOLOGIST] == (2 if site == installation else 1)
        assert Case.objects.filter(site=site).count() >= 5


def test_what_is_drawn_says_so_in_picture_name_and_note(
    installation: Site, workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, Ending.DRAFT)
    demonstrate()
    case = Case.objects.get()
    assert case.clinical_note.startswith(f"{MARK} (synthetic smears, drawn by code)")
    assert all(image.file_name.startswith("synthetic_") for image in case.images.all())
    assert len(set(case.images.values_list("sha256", flat=True))) == case.images.count()


def test_no_prediction_is_made_up_where_no_worker_runs(installation: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, Ending.SIGNED, Ending.AWAITING)
    said = demonstrate("--wait", "1")
    assert "still wait for a worker" in said
    assert "ready" not in said
    assert set(PredictionRun.objects.values_list("state", flat=True)) == {RunState.QUEUED}
    assert set(Case.objects.values_list("state", flat=True)) == {CaseState.SUBMITTED}
    assert not Reading.objects.exists()


def test_given_again_it_goes_on_where_it_stopped(
    installation: Site, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    only(monkeypatch, Ending.SIGNED, Ending.RETURNED, Ending.SUBMITTED)
    demonstrate("--wait", "0")
    images = SmearImage.objects.count()
    request.getfixturevalue("workers")
    assert "ready" in demonstrate()
    assert SmearImage.objects.count() == images
    assert set(Case.objects.values_list("state", flat=True)) == {
        CaseState.SIGNED,
        CaseState.RETURNED,
        CaseState.SUBMITTED,
    }


def test_given_a_third_time_it_says_that_it_is_there(
    installation: Site, workers: None, monkeypatch: pytest.MonkeyPatch, accounts_file: Path
) -> None:
    only(monkeypatch, Ending.IN_REVIEW, Ending.CANCELLED, Ending.DRAFT)
    demonstrate()
    before = (list(Case.objects.values()), User.objects.count(), accounts_file.read_text())
    assert demonstrate().strip() == "The demonstration is here already."
    assert (list(Case.objects.values()), User.objects.count(), accounts_file.read_text()) == before


def test_new_passwords_are_shown_once_and_kept_for_the_owner_alone(
    installation: Site, workers: None, monkeypatch: pytest.MonkeyPatch, accounts_file: Path
) -> None:
    only(monkeypatch, Ending.DRAFT)
    first = accounts_file.read_text()
    said = demonstrate()
    kept = accounts_file.read_text()
    assert kept.startswith(first)
    assert stat.S_IMODE(accounts_file.stat().st_mode) == 0o600
    added = dict(line.split() for line in kept.removeprefix(first).splitlines())
    assert set(added) == {"haematologist-2", "technician-stm", "haematologist-stm"}
    for username, password in added.items():
        assert password in said
        assert User.objects.get(username=username).check_password(password)
    assert not any(password in demonstrate() for password in added.values())


def test_it_stays_away_from_real_cases(
    installation: Site, technician: User, monkeypatch: pytest.MonkeyPatch, workers: None
) -> None:
    only(monkeypatch, Ending.DRAFT)
    real = submitted_case(technician, images=1)
    with pytest.raises(CommandError, match="real cases"):
        demonstrate()
    assert Case.objects.get() == real
    demonstrate("--force")
    assert Case.objects.count() == 2
    assert PredictionRun.objects.get().state == RunState.QUEUED, "and does nothing to them"


def test_without_a_laboratory_it_says_what_to_do_first(db: None, model_version: ModelVersion) -> None:
    with pytest.raises(CommandError, match="first_run"):
        demonstrate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Smears in folders named by their class."""
    for number, name in enumerate(("Benign", "Early", "Pre")):
        place = tmp_path / "smears" / name
        place.mkdir(parents=True)
        for file in range(4):
            (place / f"{name}-{file}.jpg").write_bytes(smear_jpeg(seed=10 * number + file))
    (tmp_path / "smears" / "notes.txt").write_text("not a class")
    return tmp_path / "smears"


def test_images_of_a_folder_are_taken_and_its_classes_are_what_the_readers_see(
    installation: Site, workers: None, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    only(monkeypatch, Ending.IN_REVIEW, Ending.OVERRIDDEN)
    demonstrate("--images", str(folder))
    for case in Case.objects.all():
        classes = {image.file_name.split("-")[0] for image in case.images.all()}
        assert len(classes) == 1, "one case shows one patient"
        own = case.readings.get(stage="own")
        assert [own.finding] == list(classes)
        assert "images of the folder smears" in case.clinical_note
    override = Reading.objects.get(image=None, decision=ReadingDecision.OVERRIDE)
    assert (override.suggested, override.finding) == ("Early", "Benign")


@pytest.mark.parametrize("kind", ["missing", "empty", "flat"])
def test_a_folder_without_classes_is_refused(installation: Site, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "given"
    if kind != "missing":
        place.mkdir()
    if kind == "flat":
        (place / "smear.jpg").write_bytes(smear_jpeg())
    with pytest.raises(CommandError, match="given"):
        demonstrate("--images", str(place))
    assert not Case.objects.exists()


def test_a_case_whose_images_were_all_refused_is_still_staged(
    installation: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, Ending.SIGNED)
    WorkerHeartbeat.objects.create(name="here:1", ready=True)
    monkeypatch.setattr(demo_laboratory.time, "sleep", lambda seconds: refuse_all())
    assert "ready" in demonstrate()
    assert Case.objects.get().state == CaseState.SIGNED
    assert Reading.objects.get(image=None, stage="informed").finding == Reading.OTHER


def refuse_all() -> None:
    """Nothing that can be read: every run is at an end without a class."""
    now = timezone.now()
    for run in PredictionRun.objects.filter(state=RunState.QUEUED):
        run_now = PredictionRun.objects.filter(pk=run.pk)
        run_now.update(state=RunState.RUNNING, lease_token=run.pk, lease_expires_at=now, started_at=now)
        run_now.update(
            state=RunState.REFUSED, lease_token=None, lease_expires_at=None, finished_at=now, reasons=["out_of_focus"]
        )
    for case in Case.objects.filter(state=CaseState.SUBMITTED):
        case_advance(case=case)
