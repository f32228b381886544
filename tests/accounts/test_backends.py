"""What a session brings along of the one who is signed in."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission

from accounts.backends import RoleBackend
from accounts.models import Site, User
from accounts.roles import ROLE_PERMISSIONS, Role
from accounts.services import user_role_set
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def fetched(user: User) -> User:
    found = RoleBackend().get_user(user.pk)
    assert found is not None
    return found


@pytest.mark.parametrize("role", Role)
def test_one_query_tells_site_role_and_permissions(
    role: Role, site: Site, django_assert_num_queries: Callable
) -> None:
    user = make_user(role, site)
    with django_assert_num_queries(1):
        found = fetched(user)
        assert (found.site, found.role) == (site, role)
        assert found.get_all_permissions() == ROLE_PERMISSIONS[role]
        assert not found.has_perm("accounts.delete_user")


def test_it_says_what_the_groups_say(site: Site) -> None:
    user = make_user(Role.TECHNICIAN, site)
    user.groups.get().permissions.remove(Permission.objects.get(codename="submit_case"))
    assert fetched(user).get_all_permissions() == {"diagnosis.view_case"}
    user.groups.clear()
    assert (fetched(user).role, fetched(user).get_all_permissions()) == (None, set())


def test_a_permission_of_one_account_does_not_count(site: Site) -> None:
    user = make_user(Role.TECHNICIAN, site)
    user.user_permissions.add(Permission.objects.get(codename="read_case"))
    assert not fetched(user).has_perm("diagnosis.read_case")
    assert not User.objects.get(pk=user.pk).has_perm("diagnosis.read_case")


def test_another_role_holds_at_the_next_request(site: Site) -> None:
    user = make_user(Role.TECHNICIAN, site)
    user_role_set(user=fetched(user), role=Role.HAEMATOLOGIST)
    assert fetched(user).role == Role.HAEMATOLOGIST
    assert fetched(user).has_perm("diagnosis.read_case")
    assert not fetched(user).has_perm("diagnosis.submit_case")


def test_whoever_is_switched_off_is_nobody(site: Site) -> None:
    user = make_user(Role.TECHNICIAN, site)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert RoleBackend().get_user(user.pk) is None
    user.refresh_from_db()
    assert not user.has_perm("diagnosis.view_case")


def test_a_superuser_may_everything(db: None) -> None:
    user = User.objects.create_superuser("root", password="x")
    assert fetched(user).role is None
    assert fetched(user).get_all_permissions() == User.objects.get(pk=user.pk).get_all_permissions()
    assert "accounts.delete_user" in fetched(user).get_all_permissions()
