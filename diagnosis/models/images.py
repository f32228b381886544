import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import User
from diagnosis.models.cameras import scale_possible
from diagnosis.models.cases import Case
from diagnosis.models.constraints import marks_due, never_deleted


class StoredBlob(models.Model):
    """The bytes of one stored file, kept once however many images show it. Only diagnosis.storage reads and writes
    it; everything else goes through `storages["smears"]`."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.BigIntegerField()
    content_type = models.CharField(max_length=40)
    data = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(size__gt=0), name="storedblob_not_empty")]


class SmearImage(models.Model):
    """An image of a smear in a case. The bytes lie in the storage "smears" under their SHA-256."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="images")
    position = models.PositiveIntegerField(help_text="Order of upload within the case, from 1.")
    file_name = models.CharField(max_length=255, help_text="As uploaded; for display alone.")
    sha256 = models.CharField(max_length=64, db_index=True)
    content_type = models.CharField(max_length=40)
    size = models.BigIntegerField(help_text="Bytes as stored.")
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    microns_per_pixel = models.FloatField(null=True, editable=False, help_text="From the camera, where that is known.")
    thumbnail_sha256 = models.CharField(max_length=64, db_index=True)
    thumbnail_size = models.PositiveIntegerField()
    quality = models.JSONField(default=dict, help_text="The verdict of diagnosis.images.quality.")
    uploaded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    withdrawn_at = models.DateTimeField(null=True, editable=False, help_text="Taken out of the case by its submitter.")

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["case", "sha256"], condition=Q(withdrawn_at__isnull=True), name="image_once_per_case"
            ),
            models.UniqueConstraint(fields=["case", "position"], name="image_position_once_per_case"),
            models.CheckConstraint(
                condition=Q(width__gt=0, height__gt=0, size__gt=0), name="image_has_pixels_and_bytes"
            ),
            scale_possible("image_scale_possible"),
        ]
        triggers = [
            never_deleted(),
            marks_due(("withdrawn_at",), "SELECT site_id, signed_at AS at FROM diagnosis_case WHERE id = NEW.case_id"),
        ]

    def __str__(self) -> str:
        return self.file_name
