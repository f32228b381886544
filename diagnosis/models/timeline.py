from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from diagnosis.models.cases import Case
from diagnosis.models.constraints import append_only, one_of
from diagnosis.states import AccessedKind, TimelineKind


class TimelineEvent(models.Model):
    """One thing that happened to a case: who, when (database time), from, to, why."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="timeline")
    kind = models.CharField(max_length=20, choices=TimelineKind)
    at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", help_text="None: the system."
    )
    from_state = models.CharField(max_length=20, blank=True)
    to_state = models.CharField(max_length=20, blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [one_of("kind", TimelineKind, "timeline_kind_known")]
        indexes = [
            models.Index(fields=["case", "id"], name="timeline_of_case"),
            models.Index(fields=["at"], condition=models.Q(to_state="returned"), name="timeline_returns"),
        ]
        triggers = [append_only()]


class AccessEvent(models.Model):
    """Somebody looked at an image or a report."""

    at = models.DateTimeField(db_default=Now(), editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="access_events")
    what = models.CharField(max_length=10, choices=AccessedKind)
    object_id = models.UUIDField()

    class Meta:
        ordering = ["-id"]
        constraints = [one_of("what", AccessedKind, "access_what_known")]
        triggers = [append_only()]
