import uuid

from django.db import models
from django.db.models.functions import Collate, Now, Upper
from django.utils import timezone

from accounts.models import Site
from diagnosis.models.constraints import never_deleted, one_of
from diagnosis.states import Sex


class Patient(models.Model):
    """A patient as one site knows them; the MRN is unique within the site."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="patients")
    mrn = models.CharField("MRN", max_length=40)
    family_name = models.CharField(max_length=80)
    given_name = models.CharField(max_length=80)
    birth_date = models.DateField(null=True)
    sex = models.CharField(max_length=10, choices=Sex, default=Sex.UNKNOWN)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["site", "mrn"], name="patient_mrn_once_per_site"),
            models.CheckConstraint(condition=~models.Q(mrn=""), name="patient_has_mrn"),
            one_of("sex", Sex, "patient_sex_known"),
        ]
        indexes = [models.Index("site", Collate(Upper("mrn"), "C"), name="patient_by_mrn")]
        triggers = [never_deleted()]

    def __str__(self) -> str:
        return f"{self.family_name}, {self.given_name}"

    @property
    def age(self) -> int | None:
        """Completed years today."""
        if self.birth_date is None:
            return None
        today = timezone.localdate()
        had_birthday = (today.month, today.day) >= (self.birth_date.month, self.birth_date.day)
        return today.year - self.birth_date.year - (not had_birthday)
