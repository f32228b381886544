"""People and the laboratories (sites) they belong to."""

import uuid
from functools import cached_property

from django.contrib.auth.models import AbstractUser
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now

from accounts.roles import Role


class Site(models.Model):
    """A laboratory. Users, patients and cases belong to one, and nobody sees another's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, unique=True)
    code = models.SlugField(max_length=20, unique=True, help_text="Short name, for example STM.")
    own_read_first = models.BooleanField(
        "own read first",
        default=True,
        help_text="Predictions stay hidden from a reader until that reader has entered an own read of the case.",
    )
    tat_target_stat = models.PositiveIntegerField(
        "TAT target, STAT (minutes)", default=60, validators=[MinValueValidator(1)]
    )
    tat_target_urgent = models.PositiveIntegerField(
        "TAT target, urgent (minutes)", default=240, validators=[MinValueValidator(1)]
    )
    tat_target_routine = models.PositiveIntegerField(
        "TAT target, routine (minutes)", default=1440, validators=[MinValueValidator(1)]
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class User(AbstractUser):
    """Someone who signs in. What they may do comes from their role's group; what they may see from their site.

    An administrator without a site looks after every site; everybody else has one.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, null=True, blank=True, related_name="users")

    # What the role may do, where accounts.backends has fetched it along.
    role_permissions: frozenset[str] | None = None

    class Meta(AbstractUser.Meta):
        ordering = ["username"]

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        return self.get_full_name() or self.get_username()

    @cached_property
    def role(self) -> Role | None:
        name = self.groups.filter(name__in=Role.values).values_list("name", flat=True).first()
        return Role(name) if name else None
