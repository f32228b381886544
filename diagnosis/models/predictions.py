import uuid

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Site, User
from diagnosis.models.constraints import append_only, marks_due, moves_only, never_deleted, one_of
from diagnosis.models.images import SmearImage
from diagnosis.states import OPEN_RUN_STATES, RUN_MOVES, ImageKind, ModelStatus, Priority, RunState


class ModelVersion(models.Model):
    """A released model as its manifest describes it; the weights stay on disk and are found by their SHA-256."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.SlugField(max_length=40)
    version = models.CharField(max_length=40)
    title = models.CharField(max_length=120)
    input_kind = models.CharField(max_length=20, choices=ImageKind)
    weights_sha256 = models.CharField("weights SHA-256", max_length=64)
    manifest = models.JSONField()
    status = models.CharField(max_length=10, choices=ModelStatus, default=ModelStatus.CANDIDATE)
    registered_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["task", "-registered_at"]
        constraints = [
            models.UniqueConstraint(fields=["task", "version"], name="modelversion_once"),
            models.UniqueConstraint(
                fields=["task"], condition=Q(status="active"), name="modelversion_one_active_per_task"
            ),
            one_of("status", ModelStatus, "modelversion_status_known"),
            one_of("input_kind", ImageKind, "modelversion_input_known"),
        ]
        triggers = [never_deleted()]

    def __str__(self) -> str:
        return f"{self.task} {self.version}"

    @property
    def classes(self) -> list[dict]:
        """The class set: code, title, description, malignant, colour."""
        return self.manifest["classes"]

    @property
    def experimental(self) -> bool:
        """Whether no data can show that it does what its classes say; it serves only on a recorded waiver."""
        return bool(self.manifest.get("experimental", False))


class ModelActivation(models.Model):
    """Who let a version serve, when, and for an experimental one why it may nevertheless."""

    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="activations")
    at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", help_text="None: the system."
    )
    waiver = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.model_version}, {self.at:%Y-%m-%d}"


class ModelEvaluation(models.Model):
    """What was measured of a model version before it was released. Apart from its row, because the queue and the
    pages load that often and this is large."""

    model_version = models.OneToOneField(
        ModelVersion, on_delete=models.PROTECT, primary_key=True, related_name="evaluation"
    )
    report = models.JSONField(null=True, help_text="report.json of the release, or nothing.")
    curves = models.JSONField(null=True, help_text="curves.json of the release: one entry for each epoch of training.")
    updated_at = models.DateTimeField(db_default=Now())


class RunQuerySet(models.QuerySet["PredictionRun"]):
    def of_cases(self) -> "RunQuerySet":
        """Those a case waits for and its readers see. The others, at backfill priority, are for comparing versions:
        of shadow models, and of archives that are gone through once more."""
        return self.filter(priority__lt=Priority.BACKFILL)


class PredictionRun(models.Model):
    """One image to be looked at by one model version: at once the queue of record and the result.

    A worker owns a run while `lease_token` is its own and `lease_expires_at` (database time) lies ahead.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    image = models.ForeignKey(SmearImage, on_delete=models.PROTECT, related_name="runs")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="runs")
    site = models.ForeignKey(
        Site,
        on_delete=models.PROTECT,
        related_name="+",
        editable=False,
        help_text="That of the case, filled in by the database: no site's backlog may starve another's.",
    )
    state = models.CharField(max_length=10, choices=RunState, default=RunState.QUEUED, editable=False)
    priority = models.SmallIntegerField(choices=Priority, default=Priority.ROUTINE)
    attempts = models.PositiveSmallIntegerField(default=0)
    queued_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_token = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    worker = models.CharField(max_length=120, blank=True)
    device = models.CharField(max_length=40, blank=True)
    backend = models.CharField(max_length=40, blank=True)

    label = models.CharField(max_length=40, blank=True, help_text="Code of the predicted class.")
    confidence = models.FloatField(null=True)
    probabilities = models.JSONField(null=True, help_text="Calibrated, one per class code.")
    abstained = models.BooleanField(default=False, help_text="Below the model's threshold of confidence.")
    reasons = models.JSONField(default=list, help_text="Why it was refused or is uncertain, as codes of the model.")
    cells = models.JSONField(
        default=list,
        help_text="Found in a field: box [x, y, width, height] in pixels of the stored image, label, probability.",
    )
    error = models.TextField(blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        permissions = [("retry_predictionrun", "Can queue a failed prediction run again")]
        constraints = [
            models.UniqueConstraint(
                fields=["image", "model_version"],
                condition=~Q(state=RunState.CANCELLED),
                name="run_once_per_image_and_model",
            ),
            one_of("state", RunState, "run_state_known"),
            one_of("priority", Priority, "run_priority_known"),
            models.CheckConstraint(
                condition=Q(state=RunState.RUNNING, lease_token__isnull=False, lease_expires_at__isnull=False)
                | (~Q(state=RunState.RUNNING) & Q(lease_token__isnull=True, lease_expires_at__isnull=True)),
                name="run_lease_while_running",
            ),
            models.CheckConstraint(
                condition=Q(state=RunState.SUCCEEDED, confidence__isnull=False, probabilities__isnull=False)
                & ~Q(label="")
                | ~Q(state=RunState.SUCCEEDED) & Q(confidence__isnull=True, probabilities__isnull=True, label=""),
                name="run_result_when_succeeded",
            ),
            models.CheckConstraint(
                condition=Q(confidence__isnull=True) | Q(confidence__gte=0, confidence__lte=1),
                name="run_confidence_is_probability",
            ),
            models.CheckConstraint(
                condition=Q(state=RunState.SUCCEEDED) | Q(cells=[]), name="run_cells_when_succeeded"
            ),
            models.CheckConstraint(condition=~Q(state=RunState.FAILED) | ~Q(error=""), name="run_failed_has_error"),
            models.CheckConstraint(
                condition=Q(state__in=OPEN_RUN_STATES) | Q(finished_at__isnull=False),
                name="run_ended_has_time",
            ),
        ]
        indexes = [
            models.Index(fields=["priority", "queued_at"], condition=Q(state=RunState.QUEUED), name="run_queue"),
            models.Index(
                fields=["model_version", "priority", "site", "queued_at", "id"],
                condition=Q(state=RunState.QUEUED),
                name="run_turns",
            ),
            models.Index(fields=["state", "priority"], condition=Q(state__in=OPEN_RUN_STATES), name="run_open"),
            models.Index(fields=["lease_expires_at"], condition=Q(state=RunState.RUNNING), name="run_leases"),
            models.Index(fields=["-finished_at"], condition=Q(state=RunState.FAILED), name="run_failures"),
            models.Index(fields=["-finished_at"], condition=Q(finished_at__isnull=False), name="run_finished"),
        ]
        triggers = [
            moves_only("state", RUN_MOVES),
            never_deleted(),
            marks_due(
                ("finished_at",),
                """
                SELECT NEW.site_id, unnest(ARRAY[NEW.finished_at, OLD.finished_at]) AS at
                WHERE NEW.finished_at IS DISTINCT FROM OLD.finished_at
                UNION ALL
                SELECT looked_at.site_id, looked_at.signed_at
                FROM diagnosis_smearimage image JOIN diagnosis_case looked_at ON looked_at.id = image.case_id
                WHERE image.id = NEW.image_id AND NEW.finished_at IS DISTINCT FROM OLD.finished_at
                """,
            ),
            pgtrigger.Trigger(
                name="site_of_the_case",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.UpdateOf("site_id", "image_id"),
                func="""
                    NEW.site_id := (
                        SELECT smear_case.site_id FROM diagnosis_smearimage image
                        JOIN diagnosis_case smear_case ON smear_case.id = image.case_id
                        WHERE image.id = NEW.image_id
                    );
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.image} × {self.model_version}"


class WorkerHeartbeat(models.Model):
    """What each worker process last said of itself; the health page reads it."""

    name = models.CharField(max_length=120, primary_key=True)
    seen_at = models.DateTimeField(db_default=Now())
    ready = models.BooleanField(default=False)
    device = models.CharField(max_length=40, blank=True)
    backend = models.CharField(max_length=40, blank=True)
    loaded = models.JSONField(default=list, help_text="The model versions it has loaded.")
    message = models.TextField(blank=True, help_text="Why it is not ready, or why it runs the models as it does.")
