from django.db import models
from django.db.models import Q

from accounts.models import Site
from diagnosis.models.constraints import never_deleted, one_of
from diagnosis.states import Objective

FINEST, COARSEST = 0.01, 10.0


def scale_possible(name: str) -> models.CheckConstraint:
    """CHECK that a scale, where it is known, is one a light microscope can have."""
    within = Q(microns_per_pixel__gt=FINEST, microns_per_pixel__lt=COARSEST)
    return models.CheckConstraint(condition=Q(microns_per_pixel__isnull=True) | within, name=name)


class CameraPreset(models.Model):
    """A camera on a microscope of a laboratory, with one of its objectives: where an image's scale is known from."""

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="cameras")
    name = models.CharField(max_length=80, help_text="As people at the bench call it, for example Axio 2, 100× oil.")
    objective = models.CharField(max_length=4, choices=Objective, default=Objective.X100)
    microns_per_pixel = models.FloatField(
        "micrometres per pixel",
        help_text="Of the images as they are uploaded: photograph a stage micrometer, and divide its length by its "
        "pixels. A change holds for images uploaded afterwards.",
    )
    active = models.BooleanField(default=True, help_text="Offered for new cases.")

    class Meta:
        ordering = ["site", "name"]
        constraints = [
            models.UniqueConstraint(fields=["site", "name"], name="camera_name_once_per_site"),
            models.CheckConstraint(condition=~Q(name=""), name="camera_has_name"),
            one_of("objective", Objective, "camera_objective_known"),
            scale_possible("camera_scale_possible"),
        ]
        triggers = [never_deleted()]

    def __str__(self) -> str:
        return f"{self.name} ({self.get_objective_display()}, {self.microns_per_pixel:g} µm per pixel)"
