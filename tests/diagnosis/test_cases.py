"""What may be done to a case as a whole, by whom, and what each step leaves behind."""

import pytest

from accounts.models import User
from diagnosis.errors import ServiceError, StateConflict
from diagnosis.models import Case, ModelVersion, PredictionRun, TimelineEvent
from diagnosis.selectors.predictions import case_model_version
from diagnosis.services.cases import (
    case_advance,
    case_ask_second_read,
    case_cancel,
    case_claim,
    case_create,
    case_return,
    case_submit,
    case_take_over,
    case_update,
)
from diagnosis.services.images import image_withdraw
from diagnosis.services.predictions import model_version_activate, model_version_register, run_retry
from diagnosis.states import CaseState, ImageKind, ModelStatus, RunState, TimelineKind, Triage
from tests.factories import (
    CaseFactory,
    ModelVersionFactory,
    PatientFactory,
    add_image,
    draft_case,
    end_run,
    predicted_case,
    submitted_case,
)

pytestmark = pytest.mark.django_db


def runs_of(case: Case) -> list[PredictionRun]:
    return list(PredictionRun.objects.filter(image__case=case).order_by("image__position"))


def last_event(case: Case) -> TimelineEvent:
    event = case.timeline.last()
    assert event is not None
    return event


class TestCreate:
    def test_it_is_a_draft_of_the_actors_site(self, technician: User) -> None:
        patient = PatientFactory(site=technician.site)
        case = case_create(actor=technician, patient=patient, accession_number="A-1")
        assert (case.state, case.site, case.submitted_by) == (CaseState.DRAFT, technician.site, technician)
        assert last_event(case).kind == TimelineKind.CREATED

    def test_it_names_the_field_of_a_taken_accession_number(self, technician: User) -> None:
        case = CaseFactory(submitted_by=technician)
        with pytest.raises(ServiceError) as caught:
            case_create(actor=technician, patient=case.patient, accession_number=case.accession_number)
        assert caught.value.field == "accession_number"

    def test_a_change_is_written_down(self, technician: User) -> None:
        case = CaseFactory(submitted_by=technician)
        case_update(case=case, actor=technician, clinical_note="Fever.", accession_number=case.accession_number)
        case.refresh_from_db()
        assert case.clinical_note == "Fever."
        assert last_event(case).reason == "Changed: clinical note."

    def test_a_submitted_case_is_not_changed(self, technician: User) -> None:
        case = submitted_case(technician)
        with pytest.raises(StateConflict):
            case_update(case=case, actor=technician, clinical_note="Fever.")


class TestSubmit:
    def test_it_needs_an_image(self, technician: User) -> None:
        case = draft_case(technician, images=1)
        image_withdraw(case=case, image=case.images.get(), actor=technician)
        with pytest.raises(ServiceError, match="at least one image"):
            case_submit(case=case, actor=technician)
        case.refresh_from_db()
        assert case.state == CaseState.DRAFT

    def test_it_queues_a_run_per_image_for_the_active_model_of_that_kind(
        self, technician: User, model_version: ModelVersion
    ) -> None:
        ModelVersionFactory(task="wbc-type", input_kind=ImageKind.SINGLE_CELL)
        ModelVersionFactory(status=ModelStatus.CANDIDATE)
        case = submitted_case(technician, images=3, priority=0)
        runs = runs_of(case)
        assert case.state == CaseState.SUBMITTED
        assert len(runs) == 3
        assert {(run.model_version, run.state, run.priority) for run in runs} == {(model_version, RunState.QUEUED, 0)}

    def test_without_a_model_it_goes_to_the_reader_at_once(self, technician: User) -> None:
        case = submitted_case(technician)
        assert (case.state, case.triage) == (CaseState.AWAITING_REVIEW, Triage.UNCERTAIN)
        assert last_event(case).reason == "No active model looks at this kind of image."

    def test_an_image_taken_out_is_not_predicted(self, technician: User, model_version: ModelVersion) -> None:
        case = draft_case(technician, images=2)
        image_withdraw(case=case, image=case.images.all()[0], actor=technician)
        case_submit(case=case, actor=technician)
        assert [run.image.position for run in runs_of(case)] == [2]

    def test_resubmission_queues_the_new_images_alone(self, awaiting: Case, haematologist: User) -> None:
        before = runs_of(awaiting)
        case_return(case=awaiting, actor=haematologist, reason="Image 2 is out of focus.")
        added = add_image(awaiting)
        case_submit(case=awaiting, actor=awaiting.submitted_by)
        queued = [run for run in runs_of(awaiting) if run.state == RunState.QUEUED]
        assert [run.image for run in queued] == [added]
        assert len(runs_of(awaiting)) == len(before) + 1

    def test_it_is_not_submitted_twice(self, technician: User, model_version: ModelVersion) -> None:
        case = submitted_case(technician)
        with pytest.raises(StateConflict):
            case_submit(case=case, actor=technician)
        assert len(runs_of(case)) == 2


class TestAdvance:
    def test_it_waits_for_the_last_run(self, technician: User, model_version: ModelVersion) -> None:
        case = submitted_case(technician, images=2)
        first, second = runs_of(case)
        end_run(first)
        assert case_advance(case=case) is False
        end_run(second)
        assert case_advance(case=case) is True
        assert case_advance(case=case) is False

    @pytest.mark.parametrize("end", [RunState.REFUSED, RunState.FAILED])
    def test_what_has_no_prediction_does_not_block_the_reader(
        self, end: str, technician: User, model_version: ModelVersion
    ) -> None:
        case = submitted_case(technician, images=2)
        end_run(runs_of(case)[0])
        end_run(runs_of(case)[1], state=end)
        case_advance(case=case)
        case.refresh_from_db()
        assert case.state == CaseState.AWAITING_REVIEW
        assert last_event(case).reason == f"Predictions finished: 1 predicted, 1 {end}."

    @pytest.mark.parametrize(
        ("label", "confidence", "triage"),
        [("Pro", 0.9, Triage.CRITICAL), ("Benign", 0.9, Triage.NONE), ("Pro", 0.4, Triage.UNCERTAIN)],
    )
    def test_its_predictions_decide_its_place(
        self, label: str, confidence: float, triage: str, technician: User, model_version: ModelVersion
    ) -> None:
        case = submitted_case(technician, images=1)
        end_run(runs_of(case)[0], label, confidence)
        case_advance(case=case)
        case.refresh_from_db()
        assert case.triage == triage


class TestCancel:
    def test_it_takes_the_waiting_runs_along(self, technician: User, model_version: ModelVersion) -> None:
        case = submitted_case(technician)
        case_cancel(case=case, actor=technician, reason="Wrong patient.")
        assert {run.state for run in runs_of(case)} == {RunState.CANCELLED}
        assert (case.state, last_event(case).reason) == (CaseState.CANCELLED, "Wrong patient.")

    def test_it_needs_a_reason(self, technician: User) -> None:
        with pytest.raises(ServiceError) as caught:
            case_cancel(case=draft_case(technician), actor=technician, reason="  ")
        assert caught.value.field == "reason"

    def test_it_is_too_late_once_reading_has_started(self, in_review: Case, technician: User) -> None:
        with pytest.raises(StateConflict):
            case_cancel(case=in_review, actor=technician, reason="Wrong patient.")

    def test_the_cancelled_runs_of_a_case_do_not_hide_the_model_of_another(
        self, technician: User, model_version: ModelVersion
    ) -> None:
        """Found by reading: one cancelled run anywhere made every case be read in the classes of today's model."""
        read_in_old_classes = predicted_case(technician)
        case_cancel(case=submitted_case(technician), actor=technician, reason="Wrong patient.")
        model_version_activate(model_version=ModelVersionFactory(status=ModelStatus.CANDIDATE))
        assert case_model_version(read_in_old_classes) == model_version


class TestReturn:
    def test_it_needs_a_reason(self, in_review: Case, haematologist: User) -> None:
        with pytest.raises(ServiceError) as caught:
            case_return(case=in_review, actor=haematologist, reason="")
        assert caught.value.field == "reason"

    def test_in_review_it_is_the_readers_to_return(
        self, in_review: Case, haematologist: User, second_haematologist: User
    ) -> None:
        with pytest.raises(StateConflict, match=str(haematologist)):
            case_return(case=in_review, actor=second_haematologist, reason="Out of focus.")
        case_return(case=in_review, actor=haematologist, reason="Out of focus.")
        assert (in_review.state, in_review.reader, in_review.returned_reason) == (
            CaseState.RETURNED,
            None,
            "Out of focus.",
        )

    def test_its_waiting_runs_are_cancelled(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        case = submitted_case(technician)
        case_return(case=case, actor=haematologist, reason="Wrong stain.")
        assert {run.state for run in runs_of(case)} == {RunState.CANCELLED}


class TestClaim:
    def test_who_comes_second_is_told_who_was_first(
        self, awaiting: Case, haematologist: User, second_haematologist: User
    ) -> None:
        seen_by_second = Case.objects.get(pk=awaiting.pk)
        case_claim(case=awaiting, actor=haematologist)
        with pytest.raises(StateConflict, match=f"{haematologist} is reading"):
            case_claim(case=seen_by_second, actor=second_haematologist)

    def test_the_submitter_does_not_read(self, awaiting: Case) -> None:
        with pytest.raises(ServiceError, match="another haematologist"):
            case_claim(case=awaiting, actor=awaiting.submitted_by)

    def test_a_case_that_is_still_predicted_is_not_read(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        with pytest.raises(StateConflict):
            case_claim(case=submitted_case(technician), actor=haematologist)


class TestTakeOver:
    def test_it_changes_the_reader_and_says_why(self, in_review: Case, second_haematologist: User) -> None:
        case_take_over(case=in_review, actor=second_haematologist, reason="Dr Chen is ill.")
        assert in_review.reader == second_haematologist
        event = last_event(in_review)
        assert (event.kind, event.actor, event.reason) == (
            TimelineKind.READER_CHANGED,
            second_haematologist,
            "Dr Chen is ill.",
        )

    def test_it_needs_a_reason(self, in_review: Case, second_haematologist: User) -> None:
        with pytest.raises(ServiceError):
            case_take_over(case=in_review, actor=second_haematologist, reason=" ")

    def test_a_case_nobody_reads_is_not_taken_over(self, awaiting: Case, haematologist: User) -> None:
        with pytest.raises(StateConflict):
            case_take_over(case=awaiting, actor=haematologist, reason="Mine.")

    def test_the_submitter_does_not_take_over(self, in_review: Case) -> None:
        with pytest.raises(ServiceError, match="another haematologist"):
            case_take_over(case=in_review, actor=in_review.submitted_by, reason="Mine.")


class TestSecondRead:
    def test_another_haematologist_gives_it(
        self, in_review: Case, haematologist: User, second_haematologist: User
    ) -> None:
        case_ask_second_read(case=in_review, actor=haematologist, reason="Blasts or haematogones?")
        assert (in_review.state, in_review.reader, in_review.first_reader) == (
            CaseState.SECOND_READ,
            None,
            haematologist,
        )
        with pytest.raises(StateConflict, match="another haematologist must give it"):
            case_claim(case=in_review, actor=haematologist)
        case_claim(case=in_review, actor=second_haematologist)
        assert in_review.reader == second_haematologist
        with pytest.raises(StateConflict):
            case_take_over(case=in_review, actor=haematologist, reason="Mine again.")

    def test_only_the_reader_asks_for_it(self, in_review: Case, second_haematologist: User) -> None:
        with pytest.raises(StateConflict):
            case_ask_second_read(case=in_review, actor=second_haematologist, reason="Curious.")


class TestRuns:
    def test_only_a_failed_run_is_queued_again(
        self, technician: User, administrator: User, model_version: ModelVersion
    ) -> None:
        case = submitted_case(technician, images=2)
        good, bad = runs_of(case)
        end_run(good)
        end_run(bad, state=RunState.FAILED)
        with pytest.raises(StateConflict):
            run_retry(run=good, actor=administrator)
        run_retry(run=bad, actor=administrator)
        bad.refresh_from_db()
        assert (bad.state, bad.attempts, bad.error, bad.finished_at) == (RunState.QUEUED, 0, "", None)
        assert last_event(case).kind == TimelineKind.RUN_RETRIED

    @pytest.mark.parametrize(("experimental", "status"), [(False, ModelStatus.ACTIVE), (True, ModelStatus.CANDIDATE)])
    def test_the_first_model_of_a_task_serves_unless_it_is_an_experiment(
        self, experimental: bool, status: str
    ) -> None:
        manifest = {"task": "lineage", "version": "1", "title": "Lineage", "input": "single_cell", "classes": []}
        manifest["experimental"] = experimental
        first = model_version_register(manifest=manifest, weights_sha256="0" * 64)
        assert first.status == status
        assert model_version_register(manifest=manifest, weights_sha256="0" * 64) == first
        later = model_version_register(manifest=manifest | {"version": "2"}, weights_sha256="1" * 64)
        assert later.status == ModelStatus.CANDIDATE or experimental

    def test_activation_retires_the_one_that_served(self, model_version: ModelVersion) -> None:
        later = ModelVersionFactory(status=ModelStatus.CANDIDATE)
        model_version_activate(model_version=later)
        model_version.refresh_from_db()
        assert (model_version.status, later.status) == (ModelStatus.RETIRED, ModelStatus.ACTIVE)
