import datetime
import uuid

import pgtrigger
from django.db import models
from django.db.models import F, Q, Value, When
from django.db.models.functions import Collate, Now, Upper

from accounts.models import Site, User
from diagnosis.models.cameras import CameraPreset
from diagnosis.models.constraints import marks_due, moves_only, never_deleted, one_of
from diagnosis.models.patients import Patient
from diagnosis.states import (
    CASE_MOVES,
    WORKLIST_STATES,
    CaseState,
    ImageKind,
    Objective,
    Priority,
    Specimen,
    Stain,
    Triage,
)


class Case(models.Model):
    """One specimen of one patient, submitted to be read. Its state changes through diagnosis.services alone."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="cases")
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="cases")
    accession_number = models.CharField(max_length=40)
    specimen = models.CharField(max_length=30, choices=Specimen, default=Specimen.PERIPHERAL_BLOOD)
    stain = models.CharField(max_length=30, choices=Stain, default=Stain.WRIGHT_GIEMSA)
    objective = models.CharField(max_length=4, choices=Objective, default=Objective.X100)
    camera = models.ForeignKey(CameraPreset, on_delete=models.PROTECT, null=True, related_name="+")
    image_kind = models.CharField("images show", max_length=20, choices=ImageKind, default=ImageKind.FIELD)
    priority = models.SmallIntegerField(choices=Priority, default=Priority.ROUTINE)
    clinical_note = models.TextField(blank=True, max_length=4000)
    state = models.CharField(max_length=20, choices=CaseState, default=CaseState.DRAFT, editable=False)
    triage = models.CharField(max_length=10, choices=Triage, default=Triage.NONE, editable=False)

    submitted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="submitted_cases")
    reader = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="reading_cases")
    first_reader = models.ForeignKey(
        User,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="Who asked for the second read.",
    )
    signed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="signed_cases")
    returned_reason = models.TextField(blank=True)

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    submitted_at = models.DateTimeField(null=True, editable=False)
    ready_at = models.DateTimeField(null=True, editable=False, help_text="When every prediction run had ended.")
    signed_at = models.DateTimeField(null=True, editable=False)

    # The order of the worklist: STAT, then critical, urgent, uncertain, the rest; then the oldest first.
    worklist_rank = models.GeneratedField(
        expression=models.Case(
            When(priority=Priority.STAT, then=Value(0)),
            When(triage=Triage.CRITICAL, then=Value(1)),
            When(priority=Priority.URGENT, then=Value(2)),
            When(triage=Triage.UNCERTAIN, then=Value(3)),
            default=Value(4),
            output_field=models.SmallIntegerField(),
        ),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )

    # What diagnosis.selectors.cases adds to the cases of a page, where the page shows it.
    queue_position: int | None
    eta_seconds: int | None
    tat_target: datetime.timedelta

    class Meta:
        permissions = [
            ("submit_case", "Can submit cases with their images"),
            ("read_case", "Can read, sign and amend cases"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["site", "accession_number"], name="case_accession_once_per_site"),
            models.CheckConstraint(condition=~Q(accession_number=""), name="case_has_accession"),
            one_of("state", CaseState, "case_state_known"),
            one_of("priority", Priority, "case_priority_known"),
            one_of("specimen", Specimen, "case_specimen_known"),
            one_of("stain", Stain, "case_stain_known"),
            one_of("objective", Objective, "case_objective_known"),
            one_of("image_kind", ImageKind, "case_image_kind_known"),
            one_of("triage", Triage, "case_triage_known"),
            models.CheckConstraint(
                condition=Q(state__in=[CaseState.DRAFT, CaseState.CANCELLED]) | Q(submitted_at__isnull=False),
                name="case_submitted_has_time",
            ),
            models.CheckConstraint(
                condition=Q(state=CaseState.SIGNED, signed_by__isnull=False, signed_at__isnull=False)
                | (~Q(state=CaseState.SIGNED) & Q(signed_by__isnull=True, signed_at__isnull=True)),
                name="case_signed_has_signer",
            ),
            models.CheckConstraint(
                condition=Q(signed_by__isnull=True) | ~Q(signed_by=F("submitted_by")),
                name="case_submitter_does_not_sign",
            ),
            models.CheckConstraint(
                condition=~Q(state=CaseState.IN_REVIEW) | Q(reader__isnull=False),
                name="case_in_review_has_reader",
            ),
            models.CheckConstraint(
                condition=~Q(state=CaseState.SECOND_READ)
                | (Q(first_reader__isnull=False) & (Q(reader__isnull=True) | ~Q(reader=F("first_reader")))),
                name="case_second_read_by_another",
            ),
            models.CheckConstraint(
                condition=~Q(state=CaseState.RETURNED) | ~Q(returned_reason=""),
                name="case_returned_has_reason",
            ),
        ]
        indexes = [
            models.Index(
                fields=["site", "worklist_rank", "submitted_at"],
                condition=Q(state__in=WORKLIST_STATES),
                name="case_worklist",
            ),
            models.Index(fields=["site", "state", "-created_at"], name="case_by_state"),
            models.Index(fields=["submitted_by", "-created_at"], name="case_by_submitter"),
            models.Index(fields=["reader", "state"], name="case_by_reader"),
            models.Index(fields=["site", "submitted_at"], name="case_submissions"),
            models.Index("site", Collate(Upper("accession_number"), "C"), name="case_by_accession"),
            models.Index(fields=["site", "signed_at"], condition=Q(state=CaseState.SIGNED), name="case_signed"),
        ]
        triggers = [
            moves_only("state", CASE_MOVES),
            never_deleted(),
            marks_due(
                ("state", "submitted_at", "signed_at"),
                """
                SELECT NEW.site_id, unnest(ARRAY[NEW.submitted_at, OLD.submitted_at]) AS at
                WHERE NEW.submitted_at IS DISTINCT FROM OLD.submitted_at
                UNION ALL
                SELECT NEW.site_id, unnest(ARRAY[NEW.signed_at, OLD.signed_at])
                WHERE NEW.signed_at IS DISTINCT FROM OLD.signed_at
                UNION ALL
                SELECT NEW.site_id, now() WHERE NEW.state = 'returned' AND NEW.state IS DISTINCT FROM OLD.state
                """,
            ),
            pgtrigger.Trigger(
                name="patient_of_same_site",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.UpdateOf("site_id", "patient_id"),
                func="""
                    IF (SELECT site_id FROM diagnosis_patient WHERE id = NEW.patient_id) <> NEW.site_id THEN
                        RAISE EXCEPTION 'a case and its patient belong to one site';
                    END IF;
                    RETURN NEW;
                """,
            ),
            pgtrigger.Trigger(
                name="camera_of_same_site",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.UpdateOf("site_id", "camera_id"),
                func="""
                    IF (SELECT site_id FROM diagnosis_camerapreset WHERE id = NEW.camera_id) <> NEW.site_id THEN
                        RAISE EXCEPTION 'a case and its camera belong to one site';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.accession_number
