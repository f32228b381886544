"""The accounts a new installation begins with: one laboratory, one account for each role."""

import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.models import Site, User
from accounts.roles import Role
from accounts.services import user_create

FILE = settings.BASE_DIR / "var" / "first-run-accounts.txt"

PEOPLE = (
    (Role.TECHNICIAN, "technician", "Tess", "Nowak"),
    (Role.HAEMATOLOGIST, "haematologist", "Hana", "Chen"),
    (Role.ADMINISTRATOR, "administrator", "Ada", "Osei"),
)


class Command(BaseCommand):
    help = "On an empty installation: make a laboratory and one account per role, with random passwords shown once."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        if User.objects.exists():
            return
        site = Site.objects.create(name="First laboratory", code="LAB1")
        lines = []
        for role, username, first_name, last_name in PEOPLE:
            password = secrets.token_urlsafe(15)
            user_create(
                username=username,
                password=password,
                role=role,
                # The first administrator looks after every site.
                site=None if role == Role.ADMINISTRATOR else site,
                first_name=first_name,
                last_name=last_name,
            )
            lines.append(f"{username:<16}{password}")
        _write_for_owner_alone(FILE, "\n".join(lines) + "\n")
        self.stdout.write("First accounts (shown this once; kept in var/first-run-accounts.txt):")
        for line in lines:
            self.stdout.write(f"  {line}")


def _write_for_owner_alone(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
