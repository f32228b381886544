import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import User
from diagnosis.models.cases import Case
from diagnosis.models.constraints import append_only, one_of
from diagnosis.states import ReportStatus


class Report(models.Model):
    """One version of a case's report. Versions are only ever added; each carries the hash of the one before, so a
    changed or missing version shows (`manage.py verify_chain`)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="reports")
    version = models.PositiveIntegerField()
    status = models.CharField(max_length=20, choices=ReportStatus)
    content = models.JSONField(help_text="All that the report says, as it stood when it was signed.")
    reason = models.TextField(blank=True, help_text="Why it was amended.")
    signed_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    signed_at = models.DateTimeField(db_default=Now(), editable=False)
    previous_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["case", "version"]
        constraints = [
            models.UniqueConstraint(fields=["case", "version"], name="report_version_once"),
            one_of("status", ReportStatus, "report_status_known"),
            models.CheckConstraint(
                condition=Q(version=1, previous_hash="") | Q(version__gt=1) & ~Q(previous_hash="") & ~Q(reason=""),
                name="report_later_version_has_reason_and_chain",
            ),
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.case} v{self.version}"
