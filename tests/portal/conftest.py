"""A browser on the pages of one user."""

from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page

from accounts.models import User
from diagnosis.models import ModelVersion

Open = Callable[..., Page]


@pytest.fixture
def as_user(browser: Browser, live_server: object, model_version: ModelVersion) -> Iterator[Open]:
    """A page in which this user is signed in; nothing may go wrong in it that the test did not bring about."""
    contexts, problems = [], []

    def start(user: User, **options: object) -> Page:
        client = Client()
        client.force_login(user, backend="accounts.backends.RoleBackend")
        base = str(live_server.url)  # type: ignore[attr-defined]
        context = browser.new_context(base_url=base, viewport={"width": 1280, "height": 800}, **options)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": base}])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if is_problem(said.type, said.text) else None)
        return page

    yield start
    for context in contexts:
        context.close()
    assert problems == []


def is_problem(kind: str, text: str) -> bool:
    """Policy violations and script errors; refused forms and cut connections are logged as well, and are meant."""
    meant = ("status of 4", "net::ERR_", "htmx:sendError", "htmx:afterRequest")
    return kind == "error" and not any(words in text for words in meant)
