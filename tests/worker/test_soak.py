"""What `script/soak` calls a fault. The soak itself is run by hand: it takes minutes."""

import os
import random
import subprocess
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from accounts.models import User
from diagnosis.models import Case, ModelVersion, PredictionRun, TimelineEvent
from diagnosis.services.cases import case_advance
from diagnosis.states import CaseState, ModelStatus, RunState
from portal.local import ROOT
from tests.factories import ModelVersionFactory, draft_case, end_run, predicted_case, submitted_case
from worker import soak
from worker.soak import Laboratory, under_way, verdict


def test_all_is_well_when_every_image_has_its_result(technician: User, model_version: ModelVersion) -> None:
    case = predicted_case(technician, images=3)
    draft_case(technician, images=1)
    found = verdict({case.pk})
    assert (found.cases, found.images, found.faults) == (1, 3, [])
    assert not under_way()


def test_a_case_that_was_acknowledged_and_is_gone_is_a_fault(technician: User, model_version: ModelVersion) -> None:
    draft = draft_case(technician, images=1)
    assert verdict({draft.pk}).faults == ["1 cases are gone"]


def test_a_case_that_waits_for_ever_is_a_fault(technician: User, model_version: ModelVersion) -> None:
    case = submitted_case(technician, images=2)
    assert under_way()
    assert verdict({case.pk}).faults == [
        "1 cases did not move on",
        "2 runs are queued",
        "1 cases did not move on exactly once",
    ]


def test_a_failed_run_is_a_fault(technician: User, model_version: ModelVersion) -> None:
    case = submitted_case(technician, images=2)
    first, second = PredictionRun.objects.all()
    end_run(first)
    end_run(second, state=RunState.FAILED)
    case_advance(case=case)
    assert verdict({case.pk}).faults == ["1 runs are failed"]


def test_two_results_of_one_image_are_a_fault(technician: User, model_version: ModelVersion) -> None:
    case = predicted_case(technician, images=2)
    other = ModelVersionFactory(status=ModelStatus.CANDIDATE)
    end_run(PredictionRun.objects.create(image=case.images.first(), model_version=other))
    assert verdict({case.pk}).faults == ["1 images have several results"]


def test_moving_on_twice_is_a_fault(technician: User, model_version: ModelVersion) -> None:
    case = predicted_case(technician, images=1)
    TimelineEvent.objects.create(case=case, kind="moved", to_state=CaseState.AWAITING_REVIEW)
    assert verdict({case.pk}).faults == ["1 cases did not move on exactly once"]


def test_what_was_not_acknowledged_is_not_promised(
    db: None, model_version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    laboratory = Laboratory(random.Random(1))
    laboratory._hand_in_whatever_happens()
    assert laboratory.acknowledged == set(Case.objects.values_list("pk", flat=True))

    def refuse(**values: object) -> None:
        raise OperationalError("the database system is shutting down")

    monkeypatch.setattr(soak, "case_submit", refuse)
    monkeypatch.setattr(soak, "connection", type("Kept", (), {"close": staticmethod(lambda: None)}))
    laboratory._hand_in_whatever_happens()
    assert len(laboratory.acknowledged) == 1


def test_it_refuses_a_database_that_holds_cases(technician: User) -> None:
    draft_case(technician, images=0)
    with pytest.raises(CommandError, match="There are cases in this database"):
        call_command("soak", minutes=0.01)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_script_starts_breaks_and_counts(released: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    environment |= {"MODELS_DIR": str(released.parents[1])}
    command = [str(ROOT / "script" / "soak"), "--minutes", "0.8", "--seed", "3"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exactly one result" in done.stdout
    assert "×" in done.stdout
