"""A disk that is full under PostgreSQL while an image is uploaded."""

import io
import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.models import SmearImage, StoredBlob
from portal.local import ROOT
from portal.local.commands import manage
from portal.local.postgres_server import QUICK, PostgresServer
from tests.conftest import SignedIn
from tests.factories import draft_case, make_user, smear_jpeg
from tests.faults.conftest import use_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

# A segment of the write-ahead log is as large.
LARGEST_FILE = 16 * 1024 * 1024


@pytest.fixture
def technician(tmp_path: Path, django_db_blocker: Any) -> Iterator[User]:
    """Of a laboratory whose operating system lets no file of PostgreSQL grow beyond a limit."""
    postgres = PostgresServer(tmp_path / "postgres", log=tmp_path / "postgres.log", settings=QUICK)
    postgres.prepare()
    postgres.service.command[:0] = ["prlimit", f"--fsize={LARGEST_FILE}"]
    postgres.service.start()
    try:
        postgres.wait_until_ready(time.sleep)
        environment = {**os.environ, "DATABASE_URL": postgres.url}
        subprocess.run(manage("migrate", "-v0"), check=True, env=environment, cwd=ROOT, capture_output=True)
        with django_db_blocker.unblock(), use_database(postgres.url):
            yield make_user(Role.TECHNICIAN, Site.objects.create(name="Cramped", code="cramped"))
    finally:
        postgres.service.stop()


def fill_up() -> None:
    """Ever smaller files, until not even a small one fits."""
    numbers = itertools.count()
    for size in (1_000_000, 100_000, 20_000):
        try:
            while True:
                StoredBlob.objects.create(
                    sha256=f"{next(numbers):064}", size=size, content_type="filler", data=os.urandom(size)
                )
        except DatabaseError:
            continue


def make_room() -> None:
    StoredBlob.objects.filter(content_type="filler").delete()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM diagnosis_storedblob")


def test_an_upload_is_refused_with_a_sentence_and_leaves_neither_row_nor_bytes(technician: User) -> None:
    case = draft_case(technician, images=1)
    browser = SignedIn(technician)
    fill_up()
    before = stored()
    answer = upload(browser, f"/cases/{case.pk}/images/")
    assert answer.status_code == 422
    assert "field.jpg: it could not be stored, nothing of it was kept." in answer.content.decode()
    assert stored() == before

    make_room()
    assert upload(browser, f"/cases/{case.pk}/images/").status_code == 201
    assert stored() == (2, 4), "each image and its thumbnail"


def upload(browser: SignedIn, address: str):  # noqa: ANN201 - the test client's own kind of answer
    picture = io.BytesIO(smear_jpeg(4242, side=800))
    picture.name = "field.jpg"
    return browser.post(address, {"image": picture})


def stored() -> tuple[int, int]:
    return SmearImage.objects.count(), StoredBlob.objects.count()
