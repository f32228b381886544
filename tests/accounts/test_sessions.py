"""A session ends when nobody is there any more, and when it has been open for long enough."""

import time
from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from accounts.roles import Role
from accounts.services import user_role_set
from tests.conftest import SignedIn

pytestmark = pytest.mark.django_db

PAGE = "/accounts/password/done/"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Callable[[int], None]:
    """Let so many seconds pass for the limits of sessions: idle for an hour, open for twelve."""
    settings.SESSION_IDLE_SECONDS, settings.SESSION_COOKIE_AGE = 3600, 12 * 3600
    clock = {"now": time.time()}
    monkeypatch.setattr("accounts.sessions.time.time", lambda: clock["now"])

    def passes(seconds: int) -> None:
        clock["now"] += seconds

    return passes


def is_in(browser: Client, page: str = PAGE) -> bool:
    return browser.get(page).status_code == 200


def test_an_idle_session_ends(technician: User, later: Callable[[int], None]) -> None:
    browser = SignedIn(technician)
    assert is_in(browser)
    later(3601)
    assert not is_in(browser)
    later(-3601)
    assert not is_in(browser)


def test_who_works_stays(technician: User, later: Callable[[int], None]) -> None:
    browser = SignedIn(technician)
    for _ in range(5):
        later(3000)
        assert is_in(browser)


def test_a_page_that_asks_by_itself_does_not_keep_its_user_signed_in(
    technician: User, later: Callable[[int], None]
) -> None:
    browser = SignedIn(technician)
    assert is_in(browser)
    for _ in range(2):
        later(1700)
        assert is_in(browser, f"{PAGE}?poll=1")
    later(300)
    assert not is_in(browser, f"{PAGE}?poll=1")


def test_twelve_hours_are_enough_for_the_busiest(technician: User, later: Callable[[int], None]) -> None:
    browser = SignedIn(technician)
    for _ in range(24):
        assert is_in(browser)
        later(1801)
    assert not is_in(browser)


def test_deactivation_ends_it_at_once(technician: User) -> None:
    browser = SignedIn(technician)
    assert is_in(browser)
    User.objects.filter(pk=technician.pk).update(is_active=False)
    assert not is_in(browser)


def test_a_change_of_role_holds_from_the_next_click(haematologist: User) -> None:
    browser = SignedIn(haematologist)
    assert is_in(browser, "/worklist/")
    user_role_set(user=User.objects.get(pk=haematologist.pk), role=Role.TECHNICIAN)
    assert browser.get("/worklist/").status_code == 403
    assert is_in(browser, "/cases/")
