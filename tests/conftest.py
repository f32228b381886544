"""Fixtures that every room's tests share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.conf import settings as portal_settings
from django.test import Client, override_settings

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.models import ModelVersion
from tests.factories import ModelVersionFactory, SiteFactory, make_user

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole portal with its browser comes last: with --all the tests that wait, which run beside the others and
    kill and start servers, have then ended, and neither starves the other."""
    items.sort(key=lambda item: "e2e" in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def settings_of_tests() -> Iterator[None]:
    """What differs from production: passwords are hashed quickly, and static files need not be collected first."""
    static_files = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        STORAGES=portal_settings.STORAGES | {"staticfiles": static_files},
    ):
        yield


@pytest.fixture
def site(db: None) -> Site:
    return SiteFactory()


@pytest.fixture
def other_site(db: None) -> Site:
    return SiteFactory()


@pytest.fixture
def technician(site: Site) -> User:
    return make_user(Role.TECHNICIAN, site)


@pytest.fixture
def haematologist(site: Site) -> User:
    return make_user(Role.HAEMATOLOGIST, site)


@pytest.fixture
def second_haematologist(site: Site) -> User:
    return make_user(Role.HAEMATOLOGIST, site)


@pytest.fixture
def administrator(site: Site) -> User:
    return make_user(Role.ADMINISTRATOR, site)


@pytest.fixture
def model_version(db: None) -> ModelVersion:
    """An active model as the portal sees it: a class set. No weights: the portal never opens them."""
    return ModelVersionFactory()


@pytest.fixture
def signed_in() -> "type[SignedIn]":
    return SignedIn


class SignedIn(Client):
    """A browser in which this user is signed in."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self.force_login(user, backend="accounts.backends.RoleBackend")


@pytest.fixture(scope="session")
def smear_data() -> Path:
    """The folder of real, labelled smears; without it the test is skipped."""
    folder = Path(os.environ.get("LEUKOSCOPE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "taleqani").is_dir():
        pytest.skip(f"needs the labelled smears in {folder} (or LEUKOSCOPE_DATA)")
    return folder.resolve()


CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROWSER_PATIENCE_MS = 15_000


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A headless Chromium. Without one the test is skipped, in CI it fails.

    It ends with its module: its driver keeps an event loop in this thread, which Django takes for asynchronous code
    and lets no model be used in, so the tests that come after it would fail.
    """
    from playwright.sync_api import expect, sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "needs Chromium (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    expect.set_options(timeout=BROWSER_PATIENCE_MS)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
