"""The three roles. A role is a group; what it may do is the group's permissions; this table is the only place
where they are written down."""

from typing import Any

from django.db import models


class Role(models.TextChoices):
    TECHNICIAN = "technician", "Technician"
    HAEMATOLOGIST = "haematologist", "Haematologist"
    ADMINISTRATOR = "administrator", "Administrator"


ROLE_PERMISSIONS: dict[Role, frozenset[str]] = {
    Role.TECHNICIAN: frozenset({"diagnosis.view_case", "diagnosis.submit_case"}),
    Role.HAEMATOLOGIST: frozenset({"diagnosis.view_case", "diagnosis.read_case"}),
    Role.ADMINISTRATOR: frozenset(
        {
            "accounts.view_site",
            "accounts.add_site",
            "accounts.change_site",
            "accounts.view_user",
            "accounts.add_user",
            "accounts.change_user",
            "diagnosis.view_camerapreset",
            "diagnosis.add_camerapreset",
            "diagnosis.change_camerapreset",
            "diagnosis.view_modelactivation",
            "diagnosis.view_modelversion",
            "diagnosis.change_modelversion",
            "diagnosis.view_predictionrun",
            "diagnosis.retry_predictionrun",
            "diagnosis.view_timelineevent",
            "diagnosis.view_accessevent",
        }
    ),
}


def roles_sync(**_signal: Any) -> None:
    """Make the three groups hold exactly the permissions of the table, as far as they exist yet."""
    from django.contrib.auth.models import Group, Permission

    for role, names in ROLE_PERMISSIONS.items():
        group, _ = Group.objects.get_or_create(name=role.value)
        wanted = models.Q(pk__in=[])
        for name in names:
            app_label, codename = name.split(".")
            wanted |= models.Q(content_type__app_label=app_label, codename=codename)
        group.permissions.set(Permission.objects.filter(wanted))
