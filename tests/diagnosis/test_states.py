"""What the database itself holds, whoever writes to it and however."""

import itertools
import uuid
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.utils import timezone

from accounts.models import Site, User
from diagnosis.models import AccessEvent, Case, ModelVersion, Patient, PredictionRun, Reading, Report, SmearImage
from diagnosis.services.timeline import access_record
from diagnosis.states import CASE_MOVES, RUN_MOVES, AccessedKind, CaseState, ModelStatus, RunState
from tests.factories import CaseFactory, ModelVersionFactory, PatientFactory, add_image, submitted_case

pytestmark = pytest.mark.django_db


def changed(row: models.Model, **values: Any) -> None:
    """Past every service, straight to the table."""
    with transaction.atomic():
        assert type(row)._default_manager.filter(pk=row.pk).update(**values) == 1


def refused(row: models.Model, because: str, **values: Any) -> None:
    with pytest.raises(DatabaseError, match=because):
        changed(row, **values)


def without_trigger(table: str, pk: object, **values: Any) -> None:
    """Put a row where it is wanted at the start of a test."""
    sets = ", ".join(f"{name} = %s" for name in values)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f"UPDATE {table} SET {sets} WHERE id = %s", [*values.values(), pk])  # noqa: S608
        cursor.execute("SET LOCAL session_replication_role = origin")


def columns_of_case(state: str, case: Case, reader: User) -> dict[str, Any]:
    """What the check constraints want of a case in this state."""
    now = timezone.now()
    signed = state == CaseState.SIGNED
    return {
        "state": str(state),
        "submitted_at": now,
        "reader_id": None if state == CaseState.SECOND_READ else reader.pk,
        "first_reader_id": reader.pk,
        "returned_reason": "Out of focus.",
        "signed_by_id": reader.pk if signed else None,
        "signed_at": now if signed else None,
    }


def columns_of_run(state: str) -> dict[str, Any]:
    running, succeeded = state == RunState.RUNNING, state == RunState.SUCCEEDED
    return {
        "state": str(state),
        "lease_token": uuid.uuid4() if running else None,
        "lease_expires_at": timezone.now() if running else None,
        "finished_at": timezone.now(),
        "error": "Broken.",
        "label": "Early" if succeeded else "",
        "confidence": 0.9 if succeeded else None,
        "probabilities": {"Early": 0.9} if succeeded else None,
    }


class TestMoves:
    def test_a_case_moves_along_its_table_and_no_other_way(self, technician: User, haematologist: User) -> None:
        case = CaseFactory(submitted_by=technician)
        done = set()
        for before, after in itertools.permutations(CaseState, 2):
            without_trigger("diagnosis_case", case.pk, **columns_of_case(before, case, haematologist))
            try:
                changed(case, **columns_of_case(after, case, haematologist))
            except DatabaseError as error:
                assert "transition" in str(error), (before, after)  # noqa: PT017
            else:
                done.add((before, after))
        assert done == CASE_MOVES

    def test_a_run_moves_along_its_table_and_no_other_way(self, technician: User, model_version: ModelVersion) -> None:
        run = PredictionRun.objects.get(image__case=submitted_case(technician, images=1))
        done = set()
        for before, after in itertools.permutations(RunState, 2):
            plain = columns_of_run(before) | {"probabilities": None}
            if before == RunState.SUCCEEDED:
                plain["probabilities"] = '{"Early": 0.9}'
            without_trigger("diagnosis_predictionrun", run.pk, **plain)
            try:
                changed(run, **columns_of_run(after))
            except DatabaseError as error:
                assert "transition" in str(error), (before, after)  # noqa: PT017
            else:
                done.add((before, after))
        assert done == RUN_MOVES


class TestHistory:
    def test_what_was_written_is_neither_changed_nor_deleted(self, signed: Case, haematologist: User) -> None:
        access_record(user=haematologist, case=signed, what=AccessedKind.CASE, object_id=signed.pk)
        rows = {
            "reason": signed.timeline.first(),
            "comment": Reading.objects.filter(case=signed).first(),
            "status": Report.objects.get(case=signed),
            "object_id": AccessEvent.objects.get(),
        }
        for field, row in rows.items():
            value = uuid.uuid4() if field == "object_id" else "amended"
            refused(row, "append_only", **{field: value})
            with pytest.raises(DatabaseError, match="append_only"), transaction.atomic():
                row.delete()

    def test_no_clinical_record_is_deleted(self, signed: Case, model_version: ModelVersion) -> None:
        image = signed.images.all()[0]
        tables = {Case: signed, Patient: signed.patient, SmearImage: image, PredictionRun: image.runs.get()}
        for model, row in (tables | {ModelVersion: model_version}).items():
            # Past Django's own protection, so that only the trigger is left.
            with pytest.raises(DatabaseError, match="never_deleted"), transaction.atomic():
                model._default_manager.filter(pk=row.pk)._raw_delete("default")


class TestCase:
    def test_signed_needs_a_signer(self, in_review: Case) -> None:
        refused(in_review, "case_signed_has_signer", state=CaseState.SIGNED)

    def test_a_signer_needs_signed(self, in_review: Case, haematologist: User) -> None:
        refused(in_review, "case_signed_has_signer", signed_by=haematologist, signed_at=timezone.now())

    def test_the_submitter_cannot_sign(self, in_review: Case, technician: User) -> None:
        values = {"state": CaseState.SIGNED, "signed_by": technician, "signed_at": timezone.now()}
        refused(in_review, "case_submitter_does_not_sign", **values)

    def test_in_review_needs_a_reader(self, awaiting: Case) -> None:
        refused(awaiting, "case_in_review_has_reader", state=CaseState.IN_REVIEW)

    def test_the_second_read_is_by_another(self, in_review: Case, haematologist: User) -> None:
        refused(in_review, "case_second_read_by_another", state=CaseState.SECOND_READ, first_reader=haematologist)

    def test_returned_needs_a_reason(self, awaiting: Case) -> None:
        refused(awaiting, "case_returned_has_reason", state=CaseState.RETURNED)

    def test_submitted_needs_its_time(self, technician: User) -> None:
        refused(CaseFactory(submitted_by=technician), "case_submitted_has_time", state=CaseState.SUBMITTED)

    def test_an_accession_number_is_used_once_per_site(self, technician: User, other_site: Site) -> None:
        case = CaseFactory(submitted_by=technician)
        CaseFactory(accession_number=case.accession_number)
        with pytest.raises(IntegrityError, match="case_accession_once_per_site"), transaction.atomic():
            CaseFactory(submitted_by=technician, accession_number=case.accession_number)

    def test_case_and_patient_are_of_one_site(self, technician: User, other_site: Site) -> None:
        stranger = PatientFactory(site=other_site)
        with pytest.raises(DatabaseError, match="belong to one site"), transaction.atomic():
            CaseFactory(submitted_by=technician, patient=stranger)
        refused(CaseFactory(submitted_by=technician), "belong to one site", patient=stranger)

    @pytest.mark.parametrize("column", ["specimen", "stain", "objective", "image_kind", "triage"])
    def test_only_known_values_are_kept(self, column: str, technician: User) -> None:
        refused(CaseFactory(submitted_by=technician), f"case_{column}_known", **{column: "x"})

    def test_the_worklist_puts_stat_before_critical_before_urgent_before_uncertain(self, technician: User) -> None:
        values = [(2, "none"), (2, "uncertain"), (1, "none"), (2, "critical"), (0, "none")]
        cases = [CaseFactory(submitted_by=technician, priority=p, triage=t) for p, t in values]
        for case in cases:
            case.refresh_from_db()
        assert sorted(cases, key=lambda case: case.worklist_rank) == cases[::-1]


class TestPatientAndImage:
    def test_an_mrn_is_used_once_per_site(self, site: Site) -> None:
        patient = PatientFactory(site=site)
        PatientFactory(mrn=patient.mrn)
        with pytest.raises(IntegrityError, match="patient_mrn_once_per_site"), transaction.atomic():
            PatientFactory(site=site, mrn=patient.mrn)

    def test_an_image_is_once_in_a_case_unless_withdrawn(self, technician: User) -> None:
        case = CaseFactory(submitted_by=technician)
        image = add_image(case)
        twin = {
            field.name: getattr(image, field.name)
            for field in SmearImage._meta.fields
            if field.name not in ("id", "position", "created_at")
        }
        with pytest.raises(IntegrityError, match="image_once_per_case"), transaction.atomic():
            SmearImage.objects.create(**twin, position=2)
        changed(image, withdrawn_at=timezone.now())
        SmearImage.objects.create(**twin, position=2)


class TestRun:
    @pytest.fixture
    def run(self, technician: User, model_version: ModelVersion) -> PredictionRun:
        return PredictionRun.objects.get(image__case=submitted_case(technician, images=1))

    def test_one_live_run_per_image_and_model(self, run: PredictionRun) -> None:
        with pytest.raises(IntegrityError, match="run_once_per_image_and_model"), transaction.atomic():
            PredictionRun.objects.create(image=run.image, model_version=run.model_version)
        changed(run, state=RunState.CANCELLED, finished_at=timezone.now())
        PredictionRun.objects.create(image=run.image, model_version=run.model_version)

    @pytest.mark.parametrize(
        ("rule", "values"),
        [
            ("run_lease_while_running", {"state": "running"}),
            ("run_lease_while_running", {"lease_token": uuid.uuid4()}),
            ("run_result_when_succeeded", {"label": "Early"}),
            ("run_result_when_succeeded", {"confidence": 0.5}),
        ],
    )
    def test_it_is_what_its_state_says(self, rule: str, values: dict, run: PredictionRun) -> None:
        refused(run, rule, **values)

    @pytest.mark.parametrize(
        ("rule", "values"),
        [
            ("run_result_when_succeeded", {"state": "succeeded", "finished_at": timezone.now()}),
            ("run_result_when_succeeded", columns_of_run("refused") | {"label": "Early"}),
            ("run_confidence_is_probability", columns_of_run("succeeded") | {"confidence": 1.01}),
            ("run_failed_has_error", columns_of_run("failed") | {"error": ""}),
            ("run_ended_has_time", columns_of_run("refused") | {"finished_at": None}),
        ],
    )
    def test_its_end_is_complete(self, rule: str, values: dict, run: PredictionRun) -> None:
        changed(run, **columns_of_run("running") | {"finished_at": None, "error": ""})
        refused(run, rule, **{"lease_token": None, "lease_expires_at": None} | values)

    def test_one_active_model_per_task(self, model_version: ModelVersion) -> None:
        ModelVersionFactory(task="wbc-type")
        ModelVersionFactory(status=ModelStatus.CANDIDATE)
        with pytest.raises(IntegrityError, match="modelversion_one_active_per_task"), transaction.atomic():
            ModelVersionFactory()


class TestReadingAndReport:
    def reading(self, case: Case, reader: User, **values: Any) -> Reading:
        plain = {"stage": "informed", "decision": "independent", "finding": "Early"}
        return Reading.objects.create(**{"case": case, "reader": reader} | plain | values)

    @pytest.mark.parametrize(
        ("rule", "values"),
        [
            ("reading_has_finding", {"finding": ""}),
            ("reading_override_has_reason", {"decision": "override", "suggested": "Pre"}),
            ("reading_own_saw_nothing", {"stage": "own", "suggested": "Pre"}),
            ("reading_own_saw_nothing", {"stage": "own", "decision": "agree"}),
        ],
    )
    def test_a_reading_is_whole(self, rule: str, values: dict, in_review: Case, haematologist: User) -> None:
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
            self.reading(in_review, haematologist, **values)

    @pytest.mark.parametrize("values", [{"previous_hash": ""}, {"reason": ""}, {"version": 1}])
    def test_a_later_version_has_a_reason_and_a_chain(self, values: dict, signed: Case, haematologist: User) -> None:
        later = {"version": 2, "status": "amended", "reason": "Typo.", "previous_hash": "0" * 64, "hash": "1" * 64}
        with pytest.raises(IntegrityError, match="report_"), transaction.atomic():
            Report.objects.create(case=signed, signed_by=haematologist, content={}, **later | values)
