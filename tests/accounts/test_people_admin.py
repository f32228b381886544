"""Administrators manage people in the Django admin, within their site and within the three roles."""

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.http import HttpResponse
from django.test import Client

from accounts.models import Site, User
from accounts.roles import Role
from tests.conftest import SignedIn
from tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

ADD = "/admin/accounts/user/add/"


@pytest.fixture
def browser(administrator: User) -> Client:
    return SignedIn(administrator)


def person(site: Site | None, role: str = Role.TECHNICIAN, **more: str) -> dict[str, str]:
    return {
        "username": "tess",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
        "first_name": "Tess",
        "last_name": "Nowak",
        "email": "",
        "role": role,
        "site": str(site.pk) if site else "",
    } | more


def edited(user: User, **more: str) -> dict[str, str]:
    values = {name: getattr(user, name) for name in ("username", "first_name", "last_name", "email")}
    role = user.role.value if user.role else ""
    return values | {"role": role, "site": str(user.site_id or ""), "is_active": "on"} | more


def change_page(user: User) -> str:
    return f"/admin/accounts/user/{user.pk}/change/"


def errors(response: HttpResponse) -> dict:
    assert response.status_code == 200, response
    return response.context["adminform"].form.errors


class TestAdd:
    @pytest.mark.parametrize("role", Role)
    def test_a_user_with_a_role_is_made_in_one_form(self, role: Role, browser: Client, site: Site) -> None:
        assert browser.post(ADD, person(site, role)).status_code == 302
        user = User.objects.get(username="tess")
        assert (user.role, user.site, user.is_staff) == (role, site, role == Role.ADMINISTRATOR)
        assert Client().post("/accounts/sign-in/", {"username": "tess", "password": PASSWORD})["Location"] == "/"

    def test_it_asks_for_a_role_and_a_site(self, browser: Client, site: Site) -> None:
        assert set(errors(browser.post(ADD, person(None, "")))) == {"role", "site"}
        assert set(errors(browser.post(ADD, person(site, "emperor")))) == {"role"}

    def test_not_for_another_site(self, browser: Client, other_site: Site) -> None:
        assert set(errors(browser.post(ADD, person(other_site)))) == {"site"}
        assert not User.objects.filter(username="tess").exists()

    def test_a_sites_administrator_does_not_make_one_of_all_sites(self, browser: Client) -> None:
        assert set(errors(browser.post(ADD, person(None, Role.ADMINISTRATOR)))) == {"site"}

    def test_an_administrator_of_all_sites_makes_people_anywhere(self, other_site: Site) -> None:
        browser = SignedIn(make_user(Role.ADMINISTRATOR, None))
        assert browser.post(ADD, person(other_site)).status_code == 302
        assert browser.post(ADD, person(None, Role.ADMINISTRATOR, username="ada")).status_code == 302
        assert set(errors(browser.post(ADD, person(None, username="no-site")))) == {"site"}

    def test_a_weak_password_is_refused(self, browser: Client, site: Site) -> None:
        response = browser.post(ADD, person(site, password1="short", password2="short"))
        assert set(errors(response)) == {"password2"}

    def test_posted_powers_are_ignored(self, browser: Client, site: Site) -> None:
        powers = {"is_superuser": "on", "is_staff": "on", "groups": "1", "user_permissions": "1"}
        assert browser.post(ADD, person(site) | powers).status_code == 302
        self.assert_plain(User.objects.get(username="tess"))

    def test_nor_do_they_come_with_a_change(self, browser: Client, technician: User, administrator: User) -> None:
        powers = {"is_superuser": "on", "is_staff": "on", "groups": "1", "user_permissions": "1"}
        assert browser.post(change_page(technician), edited(technician, **powers)).status_code == 302
        technician.refresh_from_db()
        self.assert_plain(technician)
        browser.post(change_page(administrator), edited(administrator, **powers))
        administrator.refresh_from_db()
        assert not administrator.is_superuser

    def assert_plain(self, user: User) -> None:
        assert (user.is_superuser, user.is_staff) == (False, False)
        assert not user.user_permissions.exists()
        assert [group.name for group in user.groups.all()] == [Role.TECHNICIAN]


class TestChange:
    def test_a_role_is_exchanged_not_added(self, browser: Client, technician: User) -> None:
        browser.post(change_page(technician), edited(technician, role=Role.ADMINISTRATOR))
        user = User.objects.get(pk=technician.pk)
        assert ([group.name for group in user.groups.all()], user.is_staff) == ([Role.ADMINISTRATOR], True)
        browser.post(change_page(technician), edited(user, role=Role.HAEMATOLOGIST))
        user = User.objects.get(pk=technician.pk)
        assert ([group.name for group in user.groups.all()], user.is_staff) == ([Role.HAEMATOLOGIST], False)

    def test_the_form_shows_the_role_there_is(self, browser: Client, haematologist: User) -> None:
        form = browser.get(change_page(haematologist)).context["adminform"].form
        assert form["role"].initial == Role.HAEMATOLOGIST

    def test_it_deactivates(self, browser: Client, technician: User) -> None:
        browser.post(change_page(technician), {k: v for k, v in edited(technician).items() if k != "is_active"})
        technician.refresh_from_db()
        assert not technician.is_active

    def test_it_is_kept_in_the_change_log(self, browser: Client, technician: User, administrator: User) -> None:
        browser.post(change_page(technician), edited(technician, last_name="Nowak-Chen"))
        entry = LogEntry.objects.get(object_id=technician.pk)
        assert (entry.user, entry.action_flag) == (administrator, CHANGE)
        assert "Last name" in entry.get_change_message()
        assert "Last name" in browser.get(f"/admin/accounts/user/{technician.pk}/history/").content.decode()

    def test_a_password_is_set_anew_and_ends_the_persons_sessions(self, browser: Client, technician: User) -> None:
        theirs = SignedIn(technician)
        data = {"usable_password": "true", "password1": "a quite new phrase", "password2": "a quite new phrase"}
        assert browser.post(f"/admin/accounts/user/{technician.pk}/password/", data).status_code == 302
        assert theirs.get("/cases/").status_code == 302


class TestSight:
    @pytest.fixture
    def stranger(self, other_site: Site) -> User:
        return make_user(Role.TECHNICIAN, other_site)

    def test_the_list_holds_ones_own_site_alone(
        self, browser: Client, technician: User, stranger: User, other_site: Site
    ) -> None:
        page = browser.get("/admin/accounts/user/").content.decode()
        assert technician.username in page
        assert stranger.username not in page
        assert other_site.name not in page
        assert other_site.name not in browser.get("/admin/accounts/site/").content.decode()
        assert other_site.name not in browser.get(ADD).content.decode()

    def test_others_are_not_changed(self, browser: Client, stranger: User, other_site: Site) -> None:
        browser.post(change_page(stranger), edited(stranger, last_name="Mine"))
        browser.post(f"/admin/accounts/site/{other_site.pk}/change/", {"name": "Mine"})
        stranger.refresh_from_db()
        other_site.refresh_from_db()
        assert (stranger.last_name, other_site.name) != ("Mine", "Mine")
        assert stranger.last_name != "Mine"

    def test_nobody_is_moved_to_another_site(self, browser: Client, technician: User, other_site: Site) -> None:
        response = browser.post(change_page(technician), edited(technician, site=str(other_site.pk)))
        assert set(errors(response)) == {"site"}

    def test_superusers_are_not_shown_to_those_who_are_not(self) -> None:
        root = User.objects.create_superuser("root")
        browser = SignedIn(make_user(Role.ADMINISTRATOR, None))
        assert change_page(root) not in browser.get("/admin/accounts/user/").content.decode()
        assert browser.get(change_page(root)).status_code == 302
        assert browser.get(f"/admin/accounts/user/{root.pk}/password/").status_code == 404

    def test_there_is_no_way_to_delete(self, browser: Client, technician: User) -> None:
        for model in ("user", "site"):
            assert "delete_selected" not in browser.get(f"/admin/accounts/{model}/").content.decode()
        data = {"action": "delete_selected", "_selected_action": str(technician.pk), "post": "yes"}
        browser.post("/admin/accounts/user/", data)
        assert User.objects.filter(pk=technician.pk).exists()
