"""Models that look at cases without a say: shadow versions, and versions that go through the archive once more."""

import io
import shutil
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from diagnosis.errors import StateConflict
from diagnosis.models import Case, ModelVersion, PredictionRun
from diagnosis.selectors.cases import cases_with_counts, technician_sections
from diagnosis.selectors.predictions import case_model_version, case_suggestion
from diagnosis.selectors.readings import case_reading
from diagnosis.services import predictions
from diagnosis.services.cases import case_advance, case_cancel, case_claim, case_return, case_submit
from diagnosis.services.predictions import archive_queue, model_version_activate, model_version_shadow
from diagnosis.services.readings import images_agree_all, own_read_enter
from diagnosis.states import CaseState, ImageKind, ModelStatus, Priority, RunState
from ml.predictor import Predictor
from tests.factories import ModelVersionFactory, draft_case, end_run, signed_case, submitted_case
from tests.worker.released import write_release
from worker import inference
from worker.drain import queue_drain
from worker.inference import models_load, serving
from worker.sweeper import queue_sweep


@pytest.fixture
def shadow(model_version: ModelVersion) -> ModelVersion:
    """A second version that looks on. By its age it would come first wherever nobody thought of it."""
    return ModelVersionFactory(status=ModelStatus.SHADOW)


def reclassify(**options: str) -> str:
    said = io.StringIO()
    call_command("reclassify", stdout=said, stderr=io.StringIO(), **options)
    return said.getvalue()


def runs(version: ModelVersion) -> list[PredictionRun]:
    return list(PredictionRun.objects.filter(model_version=version))


def test_a_shadow_model_gets_its_runs_behind_everything(
    technician: User, model_version: ModelVersion, shadow: ModelVersion
) -> None:
    submitted_case(technician, images=2, priority=Priority.STAT)
    assert {run.priority for run in runs(model_version)} == {Priority.STAT}
    assert [run.priority for run in runs(shadow)] == [Priority.BACKFILL] * 2


def test_no_case_waits_for_a_shadow_model(technician: User, model_version: ModelVersion, shadow: ModelVersion) -> None:
    case = submitted_case(technician, images=2)
    for run in runs(model_version):
        end_run(run)
    assert case_advance(case=case)
    assert Case.objects.get().state == CaseState.AWAITING_REVIEW
    assert "shadow" not in case.timeline.latest("id").reason
    assert case.timeline.latest("id").reason == "Predictions finished: 2 predicted."


def test_the_sweeper_does_not_wait_for_a_shadow_model_either(
    technician: User, model_version: ModelVersion, shadow: ModelVersion
) -> None:
    submitted_case(technician, images=1)
    end_run(runs(model_version)[0])
    assert queue_sweep(), "the shadow's run still waits"
    assert Case.objects.get().state == CaseState.AWAITING_REVIEW


def test_readers_see_the_active_model_alone(
    technician: User, haematologist: User, model_version: ModelVersion, shadow: ModelVersion
) -> None:
    case = submitted_case(technician, images=2)
    for run in runs(model_version):
        end_run(run, "Early")
    for run in runs(shadow):
        end_run(run, "Benign")
    PredictionRun.objects.filter(model_version=shadow).update(queued_at="2100-01-01T00:00Z")
    case_advance(case=case)
    case.refresh_from_db()
    assert case_model_version(case) == model_version
    assert (case_suggestion(case).label, case_suggestion(case).image_count) == ("Early", 2)
    shown = case_reading(case, haematologist)
    assert {view.run.model_version_id for view in shown.images if view.run} <= {model_version.pk}
    assert (shown.images_asked, shown.images_predicted) == (2, 2)
    counted = cases_with_counts(Case.objects.all()).get()
    assert (counted.images_asked, counted.images_predicted) == (2, 2)


def test_an_image_that_two_models_look_at_counts_once(
    technician: User, haematologist: User, model_version: ModelVersion
) -> None:
    other = ModelVersionFactory(task="cell-type", status=ModelStatus.ACTIVE)
    case = submitted_case(technician, images=2)
    for run in runs(model_version):
        end_run(run, "Early")
    end_run(runs(other)[0], "Early")
    counted = cases_with_counts(Case.objects.all()).get()
    assert (counted.images_asked, counted.images_predicted) == (2, 1), "one waits for its other model"
    shown = case_reading(case, haematologist)
    assert (shown.images_asked, shown.images_predicted) == (2, 1)


def test_agreeing_with_all_agrees_with_the_active_model(
    technician: User, haematologist: User, model_version: ModelVersion, shadow: ModelVersion
) -> None:
    case = submitted_case(technician, images=2)
    for run in runs(model_version):
        end_run(run, "Early")
    for run in runs(shadow):
        end_run(run, "Benign")
    case_advance(case=case)
    case.refresh_from_db()
    case_claim(case=case, actor=haematologist)
    own_read_enter(case=case, actor=haematologist, finding="Early")
    assert images_agree_all(case=case, actor=haematologist) == 2
    assert set(case.readings.filter(image__isnull=False).values_list("run__model_version", flat=True)) == {
        model_version.pk
    }


def test_a_backlog_for_comparison_moves_no_case_back_in_the_queue(
    technician: User, model_version: ModelVersion, shadow: ModelVersion
) -> None:
    first, second = (submitted_case(technician, images=1) for _ in range(2))
    for run in PredictionRun.objects.filter(image__case=first, model_version=model_version):
        end_run(run)
    case_advance(case=first)
    in_progress = {case.pk: case for case in technician_sections(technician)[1].cases}
    assert in_progress[second.pk].queue_position == 1


def test_a_shadow_that_became_active_gives_its_runs_to_the_case(
    technician: User, haematologist: User, model_version: ModelVersion, shadow: ModelVersion
) -> None:
    """Handed in, looked at by the shadow, sent back, and handed in again after the shadow was activated."""
    case = submitted_case(technician, images=1)
    for run in PredictionRun.objects.all():
        end_run(run)
    case_advance(case=case)
    case.refresh_from_db()
    case_return(case=case, actor=haematologist, reason="Blurred.")
    model_version_activate(model_version=shadow)
    case_submit(case=case, actor=technician)
    case.refresh_from_db()
    assert [run.priority for run in runs(shadow)] == [Priority.ROUTINE]
    assert case.state == CaseState.AWAITING_REVIEW, "what is known already is not waited for"


def test_only_a_candidate_becomes_a_shadow(model_version: ModelVersion) -> None:
    candidate = ModelVersionFactory(status=ModelStatus.CANDIDATE)
    model_version_shadow(model_version=candidate)
    assert candidate.status == ModelStatus.SHADOW
    with pytest.raises(StateConflict):
        model_version_shadow(model_version=model_version)


def test_the_worker_loads_and_runs_a_shadow_beside_the_active_model(
    technician: User, served: ModelVersion, released: Path, settings: object, tmp_path: Path
) -> None:
    shutil.copytree(released, tmp_path / "b-all-stage" / "0.0.1")
    write_release(tmp_path, "0.0.2", seed=1)
    settings.MODELS_DIR = tmp_path
    call_command("register_models", verbosity=0)
    second = ModelVersion.objects.get(version="0.0.2")
    assert second.status == ModelStatus.CANDIDATE
    assert set(models_load().predictors) == {served.pk}
    model_version_shadow(model_version=second)
    case = submitted_case(technician, images=2)
    while queue_drain():
        pass
    case.refresh_from_db()
    assert case.state == CaseState.AWAITING_REVIEW
    assert {run.state for run in runs(second)} == {RunState.SUCCEEDED}
    assert runs(second)[0].probabilities != runs(served)[0].probabilities

    # Activation reaches the process that is running: what comes in now is the new version's.
    model_version_activate(model_version=second)
    later = submitted_case(technician, images=1)
    while queue_drain():
        pass
    assert set(PredictionRun.objects.filter(image__case=later).values_list("model_version", "state")) == {
        (second.pk, RunState.SUCCEEDED)
    }
    assert set(models_load().predictors) == {second.pk}


def test_a_shadow_that_cannot_be_loaded_keeps_no_worker_from_work(
    technician: User, served: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    ModelVersionFactory(version="9.9.9", status=ModelStatus.SHADOW)
    case = submitted_case(technician, images=1)
    while queue_drain():
        pass
    case.refresh_from_db()
    assert case.state == CaseState.AWAITING_REVIEW
    said = serving(models_load())
    assert said.ready
    assert "9.9.9" in said.message
    assert "9.9.9" in caplog.text


def test_a_shadow_alone_serves_nobody(model_version: ModelVersion) -> None:
    ModelVersion.objects.update(status=ModelStatus.SHADOW)
    assert "No model version is active." in models_load().problems


def test_an_archive_is_queued_at_backfill_priority_and_changes_no_signed_case(
    technician: User, haematologist: User, model_version: ModelVersion
) -> None:
    case = signed_case(technician, haematologist)
    newer = ModelVersionFactory(status=ModelStatus.CANDIDATE, version="2.0.0")
    assert "2 of 2 images queued" in reclassify(task="b-all-stage", to="2.0.0")
    assert [(run.priority, run.state) for run in runs(newer)] == [(Priority.BACKFILL, RunState.QUEUED)] * 2
    for run in runs(newer):
        end_run(run, "Pro")
    model_version_activate(model_version=newer)
    case.refresh_from_db()
    assert (case.state, case_model_version(case)) == (CaseState.SIGNED, model_version)
    assert case_suggestion(case).label == "Early"


def test_the_active_version_is_meant_where_none_is_named(technician: User, model_version: ModelVersion) -> None:
    ModelVersion.objects.update(status=ModelStatus.RETIRED)
    case = draft_case(technician, images=3)
    case_submit(case=case, actor=technician)
    active = ModelVersionFactory()
    reclassify(task="b-all-stage")
    assert len(runs(active)) == 3


def test_queueing_an_archive_twice_queues_it_once(technician: User, model_version: ModelVersion) -> None:
    submitted_case(technician, images=3)
    newer = ModelVersionFactory(status=ModelStatus.CANDIDATE, version="2.0.0")
    reclassify(task="b-all-stage", to="2.0.0")
    assert "0 of 3 images queued" in reclassify(task="b-all-stage", to="2.0.0")
    assert len(runs(newer)) == 3


def test_queueing_an_archive_goes_on_where_it_was_broken_off(
    technician: User, model_version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "ARCHIVE_PIECE", 2)
    submitted_case(technician, images=5)
    newer = ModelVersionFactory(status=ModelStatus.CANDIDATE, version="2.0.0")
    broken_off = archive_queue(model_version=newer)
    assert next(broken_off) == 2
    broken_off.close()
    assert len(runs(newer)) == 2
    assert list(archive_queue(model_version=newer)) == [2, 2, 1]
    assert len(runs(newer)) == 5


def test_what_was_never_handed_in_or_is_of_another_kind_is_left_out(
    technician: User, model_version: ModelVersion
) -> None:
    draft_case(technician, images=1)
    case_cancel(case=submitted_case(technician, images=1), actor=technician, reason="Wrong patient.")
    submitted_case(technician, images=1, image_kind=ImageKind.SINGLE_CELL)
    withdrawn = submitted_case(technician, images=2)
    withdrawn.images.filter(position=1).update(withdrawn_at="2026-01-01T00:00Z")
    newer = ModelVersionFactory(status=ModelStatus.CANDIDATE, version="2.0.0")
    reclassify(task="b-all-stage", to="2.0.0")
    (run,) = runs(newer)
    assert (run.image.case_id, run.image.position) == (withdrawn.pk, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "warts"}, "no model for the task 'warts'; known: b-all-stage"),
        ({"task": "b-all-stage", "to": "7"}, "no version 7; known: "),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(
    model_version: ModelVersion, options: dict[str, str], said: str
) -> None:
    with pytest.raises(CommandError, match=said):
        reclassify(**options)


def test_a_version_with_waiting_runs_is_loaded_whatever_its_status(
    technician: User, served: ModelVersion, predictor: Predictor, released: Path
) -> None:
    submitted_case(technician, images=1)
    candidate = ModelVersionFactory(
        version="0.0.9", status=ModelStatus.CANDIDATE, weights_sha256=predictor.manifest.weights.sha256
    )
    assert candidate.pk not in {version.pk for version in inference.models_wanted()}
    list(archive_queue(model_version=candidate))
    assert candidate.pk in {version.pk for version in inference.models_wanted()}
