from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from diagnosis.models.cases import Case
from diagnosis.models.predictions import ModelVersion


class CasePrediction(models.Model):
    """What one model version says of a case as a whole: pooled over its images by a worker, when their runs had ended.

    It belongs to the images that are in the case: whoever hands the case in again takes it away, and it is made anew.
    """

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="predictions")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="case_predictions")
    image_count = models.PositiveIntegerField(help_text="Images the model was to look at.")
    answered_count = models.PositiveIntegerField(help_text="Images it gave a class.")
    abstained_count = models.PositiveIntegerField(help_text="Of these, the uncertain ones.")
    label = models.CharField(max_length=40, blank=True, help_text="Code of the class; none where cells are counted.")
    probabilities = models.JSONField(null=True, help_text="Means over the images, one per class code.")
    intervals = models.JSONField(null=True, help_text="95 %, [low, high] per class code; none with a single image.")
    differential = models.JSONField(null=True, help_text="The cells by class, as ml.pooling.Differential.")
    computed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["case", "model_version"], name="caseprediction_once"),
            models.CheckConstraint(
                condition=Q(answered_count__lte=F("image_count"), abstained_count__lte=F("answered_count")),
                name="caseprediction_counts_fit",
            ),
            models.CheckConstraint(
                condition=Q(label="", probabilities__isnull=True)
                | ~Q(label="") & Q(probabilities__isnull=False, answered_count__gt=0),
                name="caseprediction_label_has_probabilities",
            ),
            models.CheckConstraint(
                condition=Q(intervals__isnull=True) | Q(probabilities__isnull=False, answered_count__gt=1),
                name="caseprediction_interval_needs_images",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.case} × {self.model_version}"
