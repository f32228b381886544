"""A stored file as an answer to a browser."""

from __future__ import annotations

import os
import tracemalloc
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory

from diagnosis.streaming import PIECE, serve_blob

DATA = os.urandom(2 * PIECE + 100)
SIZE = len(DATA)


@pytest.fixture
def name(db: None) -> str:
    return storages["smears"].save("", ContentFile(DATA))


def answer(name: str, method: str = "get", **options: Any) -> HttpResponseBase:
    request: HttpRequest = getattr(RequestFactory(), method)("/", headers=options.pop("headers", {}))
    given = {"content_type": "image/webp", "size": SIZE, "etag": f'"{name}"', "file_name": "field_01.tif"} | options
    return serve_blob(request, storage_name=name, **given)


def body(response: HttpResponseBase) -> bytes:
    return b"".join(response.streaming_content) if isinstance(response, StreamingHttpResponse) else response.content


def test_it_sends_the_whole_file_with_headers_that_disarm_it(name: str) -> None:
    response = answer(name)
    assert response.status_code == 200
    assert body(response) == DATA
    assert dict(response.headers) == {
        "Content-Type": "image/webp",
        "Content-Length": str(SIZE),
        "Content-Disposition": 'inline; filename="field_01.webp"',
        "ETag": f'"{name}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=3600, immutable",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def test_head_sends_the_same_headers_and_no_body(name: str) -> None:
    response, full = answer(name, "head"), answer(name)
    assert body(response) == b""
    assert dict(response.headers) == dict(full.headers)
    assert answer(name, "head", headers={"Range": "bytes=0-9"}).status_code == 200


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_a_file_the_browser_has_is_not_sent_again(name: str, form: str) -> None:
    response = answer(name, headers={"If-None-Match": form.format(name)})
    assert response.status_code == 304
    assert body(response) == b""
    assert response["ETag"] == f'"{name}"'
    assert "private" in response["Cache-Control"]


def test_another_file_is_sent(name: str) -> None:
    assert answer(name, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=100-", 100, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes={PIECE - 5}-{2 * PIECE + 5}", PIECE - 5, 2 * PIECE + 6),
        (f"bytes=5-{SIZE * 9}", 5, SIZE),
        (f"bytes=-{SIZE * 9}", 0, SIZE),
    ],
)
def test_one_range_is_served(name: str, asked: str, start: int, end: int) -> None:
    response = answer(name, headers={"Range": asked})
    assert response.status_code == 206
    assert response["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response["Content-Length"] == str(end - start)
    assert body(response) == DATA[start:end]


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=-0", f"bytes={SIZE + 5}-{SIZE + 9}"])
def test_a_range_outside_of_the_file_is_refused(name: str, asked: str) -> None:
    response = answer(name, headers={"Range": asked})
    assert response.status_code == 416
    assert response["Content-Range"] == f"bytes */{SIZE}"
    assert body(response) == b""


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "bytes=-", "bytes=a-b", "pages=1-2", "bytes=0-1,5-6", "bytes=" + "9" * 5000 + "-", "", "x"]
)
def test_what_is_no_single_range_gets_the_whole_file(name: str, asked: str) -> None:
    response = answer(name, headers={"Range": asked})
    assert response.status_code == 200
    assert body(response) == DATA


@pytest.mark.parametrize(
    ("validator", "status"), [('"{}"', 206), ('"other"', 200), ("Mon, 02 Nov 2026 08:00 GMT", 200)]
)
def test_a_range_of_an_older_file_gets_the_new_one_whole(name: str, validator: str, status: int) -> None:
    headers = {"Range": "bytes=0-9", "If-Range": validator.format(name)}
    assert answer(name, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("field.jpg", 'inline; filename="field.webp"'),
        ('a"b.html', 'inline; filename="a\\"b.webp"'),
        ("../../x\r\nSet-Cookie: a=b.jpg", 'inline; filename="x Set-Cookie: a=b.webp"'),
        ("Müller.png", "inline; filename*=utf-8''M%C3%BCller.webp"),
        ("", 'inline; filename="image.webp"'),
    ],
)
def test_the_file_name_cannot_leave_its_header(name: str, given: str, shown: str) -> None:
    assert answer(name, file_name=given)["Content-Disposition"] == shown


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/pdf", ""])
def test_a_type_that_could_run_is_only_downloaded(name: str, content_type: str) -> None:
    response = answer(name, content_type=content_type)
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")


def test_a_row_without_its_bytes_is_not_found(db: None) -> None:
    with pytest.raises(Http404):
        answer("0" * 64)


def test_a_large_file_is_never_held_whole(db: None) -> None:
    data = os.urandom(24 * 1024 * 1024)
    name = storages["smears"].save("", ContentFile(data))
    response = answer(name, size=len(data))
    assert isinstance(response, StreamingHttpResponse)
    tracemalloc.start()
    sent = sum(len(piece) for piece in response.streaming_content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sent == len(data)
    assert peak < 4 * 1024 * 1024


def test_closing_the_answer_closes_the_file(name: str) -> None:
    response = answer(name)
    assert isinstance(response, StreamingHttpResponse)
    pieces = response._iterator
    response.close()
    with pytest.raises(ValueError, match="closed"):
        next(pieces)
