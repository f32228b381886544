"""The two laboratories of the demonstration and who works in them."""

import os
import secrets
from pathlib import Path

from django.db import transaction

from accounts.models import Site, User
from accounts.roles import Role
from accounts.services import user_create
from diagnosis.demo.plan import SECOND_SITE
from diagnosis.demo.staging import Staff

Account = tuple[str, str]
"""A user's name and password."""


class NoFirstSite(Exception):
    """There is no laboratory yet."""


@transaction.atomic
def staff_find_or_create() -> tuple[Staff, Staff, list[Account]]:
    """The staff of the first site and of the second, and the accounts that had to be made."""
    home = Site.objects.exclude(code=SECOND_SITE[1]).order_by("created_at").first()
    if home is None:
        raise NoFirstSite
    away, _ = Site.objects.get_or_create(code=SECOND_SITE[1], defaults={"name": SECOND_SITE[0]})
    made: list[Account] = []
    first = Staff(
        home,
        _member(made, home, Role.TECHNICIAN, "technician", "Tess", "Nowak"),
        _member(made, home, Role.HAEMATOLOGIST, "haematologist", "Hana", "Chen"),
    )
    _named(made, home, Role.HAEMATOLOGIST, "haematologist-2", "Ravi", "Menon")
    second = Staff(
        away,
        _member(made, away, Role.TECHNICIAN, "technician-stm", "Lena", "Brandt"),
        _member(made, away, Role.HAEMATOLOGIST, "haematologist-stm", "Oskar", "Weiss"),
    )
    return first, second, made


def _member(made: list[Account], site: Site, role: Role, username: str, first_name: str, last_name: str) -> User:
    """Whoever has this role at the site already, else a new account."""
    found = User.objects.filter(site=site, groups__name=role.value, is_active=True).order_by("date_joined").first()
    return found or _named(made, site, role, username, first_name, last_name)


def _named(made: list[Account], site: Site, role: Role, username: str, first_name: str, last_name: str) -> User:
    found = User.objects.filter(username=username).first()
    if found:
        return found
    password = secrets.token_urlsafe(15)
    made.append((username, password))
    return user_create(
        username=username, password=password, role=role, site=site, first_name=first_name, last_name=last_name
    )


def keep_accounts(path: Path, lines: list[str]) -> None:
    """Add to the file of first accounts, which its owner alone may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write("".join(f"{line}\n" for line in lines))
