from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import User
from diagnosis.models.cases import Case
from diagnosis.models.constraints import append_only, marks_due, one_of
from diagnosis.models.images import SmearImage
from diagnosis.models.predictions import PredictionRun
from diagnosis.states import ReadingDecision, ReadingStage


class Reading(models.Model):
    """What a haematologist says an image, or a case as a whole, shows. Never changed: the newest one of a reader
    holds, the others stay as they were.

    `finding` is a class code of the task, or one of the general findings below.
    """

    OTHER = "other"
    UNUSABLE = "unusable"
    GENERAL_FINDINGS = ((OTHER, "Other (see comment)"), (UNUSABLE, "Not usable"))
    GENERAL_CODES = tuple(code for code, _ in GENERAL_FINDINGS)

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="readings")
    image = models.ForeignKey(SmearImage, on_delete=models.PROTECT, null=True, related_name="readings")
    reader = models.ForeignKey(User, on_delete=models.PROTECT, related_name="readings")
    stage = models.CharField(max_length=10, choices=ReadingStage)
    decision = models.CharField(max_length=12, choices=ReadingDecision)
    finding = models.CharField(max_length=40)
    run = models.ForeignKey(
        PredictionRun,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The prediction in view.",
    )
    suggested = models.CharField(max_length=40, blank=True, help_text="The class that was suggested, if any was seen.")
    reason = models.TextField(blank=True, max_length=1000)
    comment = models.TextField(blank=True, max_length=4000)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            one_of("stage", ReadingStage, "reading_stage_known"),
            one_of("decision", ReadingDecision, "reading_decision_known"),
            models.CheckConstraint(condition=~Q(finding=""), name="reading_has_finding"),
            models.CheckConstraint(
                condition=~Q(decision="override") | ~Q(reason=""), name="reading_override_has_reason"
            ),
            models.CheckConstraint(
                condition=~Q(stage="own") | Q(decision="independent", run__isnull=True, suggested=""),
                name="reading_own_saw_nothing",
            ),
        ]
        indexes = [models.Index(fields=["case", "image", "-id"], name="reading_newest")]
        triggers = [
            append_only(),
            marks_due((), "SELECT site_id, signed_at AS at FROM diagnosis_case WHERE id = NEW.case_id"),
        ]
