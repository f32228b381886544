from django.db import models
from django.db.models.functions import Now

from accounts.models import Site
from diagnosis.models.constraints import never_deleted, one_of
from diagnosis.models.predictions import ModelVersion
from diagnosis.states import DriftMeasure


class DriftAlarm(models.Model):
    """What a model version sees or says at a site is no longer what it was. Open until it has gone again."""

    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="drift_alarms")
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="drift_alarms")
    measure = models.CharField(max_length=20, choices=DriftMeasure)
    index = models.FloatField(help_text="Population stability index when it was last looked at.")
    raised_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-raised_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["model_version", "site", "measure"],
                condition=models.Q(ended_at__isnull=True),
                name="driftalarm_one_open",
            ),
            one_of("measure", DriftMeasure, "driftalarm_measure_known"),
        ]
        triggers = [never_deleted()]

    def __str__(self) -> str:
        return f"{self.model_version}, {self.site}: {self.get_measure_display()}"
