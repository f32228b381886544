"""What holds for every route there is: no forged request is taken, and each answer tells the browser its limits."""

import re
from http.cookies import SimpleCookie

import pytest
from django.http import HttpResponse
from django.test import Client

from accounts.models import User
from tests.conftest import SignedIn
from tests.security.routes import Route, routes
from tests.security.world import World

pytestmark = pytest.mark.django_db

ROUTES = routes()
PEOPLE = ("anonymous", "technician", "haematologist", "administrator of all")


class TestForgery:
    def test_no_route_takes_a_post_without_the_token(self, world: World) -> None:
        browser = Client(enforce_csrf_checks=True)
        taken = []
        for person in PEOPLE:
            for route in ROUTES:
                browser.cookies = world.cookies(person)
                if browser.post(route.url(world.objects(route.name)), {"reason": "x"}).status_code != 403:
                    taken.append((person, route.name))
        assert taken == []

    def test_with_the_token_of_the_page_it_is_taken(self, technician: User) -> None:
        browser = Client(enforce_csrf_checks=True)
        browser.cookies = SimpleCookie({"sessionid": SignedIn(technician).cookies["sessionid"].value})
        page = browser.get("/cases/new/").content.decode()
        (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page))
        answer = browser.post("/cases/new/", {"csrfmiddlewaretoken": token, "mrn": ""})
        assert answer.status_code == 422
        assert browser.post("/cases/new/", {"mrn": ""}, headers={"X-CSRFToken": token}).status_code == 422


class TestPages:
    @pytest.mark.parametrize("person", PEOPLE)
    def test_every_answer_says_what_a_browser_must_not_do_and_needs_none_of_it(
        self, person: str, world: World
    ) -> None:
        for route in ROUTES:
            response = world.request(person, "GET", route.url(world.objects(route.name)))
            assert_strict(response, route)
            if "text/html" in response.headers.get("Content-Type", "") and response.status_code == 200:
                assert_nothing_within(response.content.decode(), route)

    def test_what_belongs_to_patients_is_not_kept_by_proxies(self, world: World) -> None:
        route = next(route for route in ROUTES if route.name == "diagnosis:image_file")
        response = world.request("technician", "GET", route.url(world.objects(route.name)))
        assert response.headers["Cache-Control"].startswith("private")
        assert "sandbox" in response.headers["Content-Security-Policy"]


def assert_strict(response: HttpResponse, route: Route) -> None:
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy, route
    assert "unsafe" not in policy, route
    assert "sandbox" in policy or "frame-ancestors 'none'" in policy, route
    assert response.headers["X-Content-Type-Options"] == "nosniff", route
    assert response.headers["X-Frame-Options"] == "DENY", route
    assert response.headers["Referrer-Policy"] == "same-origin", route


def assert_nothing_within(page: str, route: Route) -> None:
    """No script or style within the page, and nothing fetched from elsewhere: the policy would stop it."""
    assert not re.search(r"<style|\sstyle=|\son\w+=\"|javascript:", page), route
    assert not re.search(r"<script(?![^>]*(\ssrc=|application/json))", page), route
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=\"(https?:)?//", page), route
