"""The one door: who gets in, who is kept out, and that guessing gets nowhere."""

import pytest
from django.contrib.auth import SESSION_KEY
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from tests.conftest import SignedIn
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

DOOR = "/accounts/sign-in/"


def knock(browser: Client, username: str, password: str = PASSWORD, **extra: str) -> HttpResponse:
    return browser.post(DOOR, {"username": username, "password": password}, **extra)


def is_in(browser: Client) -> bool:
    return SESSION_KEY in browser.session


class TestSignIn:
    def test_name_and_password_open_it(self, client: Client, technician: User) -> None:
        assert knock(client, technician.username)["Location"] == "/"
        assert is_in(client)

    def test_signing_out_takes_a_post_and_ends_the_session(self, technician: User) -> None:
        browser = SignedIn(technician)
        assert browser.get("/accounts/sign-out/").status_code == 405
        assert is_in(browser)
        assert browser.post("/accounts/sign-out/")["Location"] == DOOR
        assert not is_in(browser)

    def test_the_key_of_the_session_rotates(self, client: Client, technician: User) -> None:
        planted = client.session
        planted["planted"] = True
        planted.save()
        client.cookies["sessionid"] = planted.session_key
        knock(client, technician.username)
        assert is_in(client)
        assert client.cookies["sessionid"].value != planted.session_key
        assert not is_in_with(planted.session_key)

    def test_a_wrong_name_and_a_wrong_password_get_one_answer(self, client: Client, technician: User) -> None:
        errors = []
        for username in (technician.username, "nobody-of-this-name"):
            response = knock(client, username, "wrong")
            errors.append((response.status_code, response.context["form"].non_field_errors()))
        assert errors[0] == errors[1]
        assert errors[0][1]

    def test_an_unknown_name_costs_a_hash_as_well(
        self, client: Client, technician: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hashed = []
        make = User.set_password
        monkeypatch.setattr(User, "set_password", lambda user, raw: (hashed.append(raw), make(user, raw)))
        knock(client, "nobody-of-this-name", "wrong")
        assert hashed == ["wrong"]

    def test_who_is_deactivated_stays_out(self, client: Client, technician: User) -> None:
        User.objects.filter(pk=technician.pk).update(is_active=False)
        assert knock(client, technician.username).status_code == 200
        assert not is_in(client)

    def test_the_cookie_is_kept_from_scripts_and_other_sites(self, client: Client, technician: User) -> None:
        knock(client, technician.username)
        cookie = client.cookies["sessionid"]
        assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", "")


def is_in_with(session_key: str) -> bool:
    browser = Client()
    browser.cookies["sessionid"] = session_key
    return is_in(browser)


class TestNext:
    def test_it_leads_on_within_the_portal(self, client: Client, technician: User) -> None:
        data = {"username": technician.username, "password": PASSWORD, "next": "/search/?q=A-1"}
        assert client.post(DOOR, data)["Location"] == "/search/?q=A-1"

    @pytest.mark.parametrize(
        "elsewhere",
        ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "https:///evil.example"],
    )
    def test_it_leads_nowhere_else(self, elsewhere: str, client: Client, technician: User) -> None:
        data = {"username": technician.username, "password": PASSWORD, "next": elsewhere}
        assert client.post(DOOR, data)["Location"] == "/"
        assert client.get(DOOR, {"next": elsewhere})["Location"] == "/"

    def test_it_does_not_lead_in_a_circle(self, technician: User) -> None:
        assert SignedIn(technician).get(DOOR, {"next": DOOR})["Location"] == "/"

    def test_the_admins_door_is_this_one(self, client: Client) -> None:
        answer = client.get("/admin/accounts/user/", follow=True)
        assert answer.redirect_chain[-1][0] == f"{DOOR}?next=/admin/accounts/user/"


class TestLockout:
    def test_the_fifth_wrong_try_locks_even_the_right_password_out(self, client: Client, technician: User) -> None:
        codes = [knock(client, technician.username, f"wrong {n}").status_code for n in range(5)]
        assert codes == [200, 200, 200, 200, 429]
        assert knock(client, technician.username).status_code == 429
        assert not is_in(client)

    def test_names_that_do_not_exist_are_locked_as_well(self, client: Client) -> None:
        assert [knock(client, "nobody").status_code for _ in range(5)][-1] == 429

    def test_others_and_other_addresses_are_not(self, client: Client, technician: User, haematologist: User) -> None:
        for _ in range(5):
            knock(client, technician.username, "wrong")
        assert knock(Client(REMOTE_ADDR="10.0.0.2"), technician.username).status_code == 302
        assert knock(Client(), haematologist.username).status_code == 302

    def test_the_admins_door_knows_of_it(self, client: Client, administrator: User) -> None:
        for n in range(5):
            door = client.get("/admin/login/")["Location"]
            answer = client.post(door, {"username": administrator.username, "password": f"wrong {n}"})
        assert answer.status_code == 429
        assert knock(client, administrator.username).status_code == 429

    def test_an_invented_forwarding_does_not_get_round_it(self, client: Client, technician: User) -> None:
        for n in range(5):
            knock(client, technician.username, "wrong", HTTP_X_FORWARDED_FOR=f"10.0.0.{n}")
        assert knock(client, technician.username, HTTP_X_FORWARDED_FOR="10.0.0.9").status_code == 429

    def test_behind_our_proxy_each_address_counts_for_itself(
        self, client: Client, technician: User, settings: Settings
    ) -> None:
        settings.PROXY_COUNT = 1
        for n in range(5):
            knock(client, technician.username, "wrong", HTTP_X_FORWARDED_FOR=f"8.8.8.{n}, 10.0.0.1")
        assert knock(client, technician.username, HTTP_X_FORWARDED_FOR="8.8.8.9, 10.0.0.1").status_code == 429
        assert knock(client, technician.username, HTTP_X_FORWARDED_FOR="10.0.0.1, 10.0.0.2").status_code == 302

    @pytest.mark.parametrize("header", ["", "rubbish", "'; DROP TABLE"])
    def test_a_header_that_is_no_address_is_passed_over(
        self, header: str, client: Client, technician: User, settings: Settings
    ) -> None:
        settings.PROXY_COUNT = 1
        assert knock(client, technician.username, "wrong", HTTP_X_FORWARDED_FOR=header).status_code == 200

    def test_getting_in_forgets_the_failures(self, technician: User) -> None:
        for _ in range(2):
            for _ in range(4):
                knock(Client(), technician.username, "wrong")
            assert knock(Client(), technician.username).status_code == 302


class TestPassword:
    def change(self, browser: Client, new: str, old: str = PASSWORD) -> HttpResponse:
        data = {"old_password": old, "new_password1": new, "new_password2": new}
        return browser.post("/accounts/password/", data)

    def test_it_is_changed_and_other_sessions_end(self, technician: User) -> None:
        here, elsewhere = SignedIn(technician), SignedIn(technician)
        assert self.change(here, "a quite different phrase")["Location"] == "/accounts/password/done/"
        assert here.get("/accounts/password/done/").status_code == 200
        assert elsewhere.get("/accounts/password/done/").status_code == 302
        technician.refresh_from_db()
        assert technician.check_password("a quite different phrase")

    @pytest.mark.parametrize("new", ["short", "123456789012345", "password1234", "technician-technician"])
    def test_a_weak_one_is_refused(self, new: str, technician: User) -> None:
        User.objects.filter(pk=technician.pk).update(username="technician-technician")
        response = self.change(SignedIn(technician), new)
        assert response.context["form"].errors

    def test_the_old_one_must_be_right(self, technician: User) -> None:
        response = self.change(SignedIn(technician), "a quite different phrase", old="wrong")
        assert "old_password" in response.context["form"].errors
