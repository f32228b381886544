"""What a new installation begins with."""

import stat
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import Client

from accounts.models import Site, User
from accounts.roles import ROLE_PERMISSIONS, Role, roles_sync

pytestmark = pytest.mark.django_db


@pytest.fixture
def accounts_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "var" / "accounts.txt"
    monkeypatch.setattr("accounts.management.commands.first_run.FILE", path)
    return path


def test_it_makes_one_account_per_role_and_their_passwords_work(
    accounts_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("first_run")
    said = capsys.readouterr().out
    lines = [line.split() for line in accounts_file.read_text().splitlines()]
    assert {User.objects.get(username=username).role for username, _ in lines} == set(Role)
    for username, password in lines:
        assert password in said
        assert len(password) >= 16
        answer = Client().post("/accounts/sign-in/", {"username": username, "password": password})
        assert answer.status_code == 302


def test_the_file_is_its_owners_alone(accounts_file: Path) -> None:
    accounts_file.parent.mkdir()
    accounts_file.write_text("left over")
    accounts_file.chmod(0o644)
    call_command("first_run")
    assert stat.S_IMODE(accounts_file.stat().st_mode) == 0o600
    assert "left over" not in accounts_file.read_text()


def test_the_first_administrator_looks_after_every_site(accounts_file: Path) -> None:
    call_command("first_run")
    assert {user.username: user.site for user in User.objects.all()} == {
        "administrator": None,
        "haematologist": Site.objects.get(),
        "technician": Site.objects.get(),
    }


def test_the_second_run_does_nothing(accounts_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("first_run")
    before = accounts_file.read_text(), list(User.objects.values_list("password", flat=True))
    capsys.readouterr()
    call_command("first_run")
    assert (accounts_file.read_text(), list(User.objects.values_list("password", flat=True))) == before
    assert capsys.readouterr().out == ""


class TestRoles:
    def held(self, role: Role) -> set[str]:
        permissions = Group.objects.get(name=role).permissions.select_related("content_type")
        return {f"{p.content_type.app_label}.{p.codename}" for p in permissions}

    @pytest.mark.parametrize("role", Role)
    def test_after_migrating_each_group_holds_its_table(self, role: Role) -> None:
        assert self.held(role) == ROLE_PERMISSIONS[role]

    def test_what_was_added_by_hand_is_taken_away_again(self) -> None:
        technicians, administrators = (Group.objects.get(name=r) for r in (Role.TECHNICIAN, Role.ADMINISTRATOR))
        technicians.permissions.set(administrators.permissions.all())
        roles_sync()
        assert self.held(Role.TECHNICIAN) == ROLE_PERMISSIONS[Role.TECHNICIAN]

    def test_nobody_both_submits_and_reads(self) -> None:
        both = {"diagnosis.submit_case", "diagnosis.read_case"}
        assert not any(both <= permissions for permissions in ROLE_PERMISSIONS.values())

    def test_administrators_have_no_clinical_permission(self) -> None:
        clinical = {"diagnosis.view_case", "diagnosis.submit_case", "diagnosis.read_case"}
        assert not clinical & ROLE_PERMISSIONS[Role.ADMINISTRATOR]
        assert not [name for name in ROLE_PERMISSIONS[Role.ADMINISTRATOR] if ".delete_" in name]
