"""Stored bytes as an HTTP answer: piece by piece, cacheable by the browser that asked, harmless when
opened alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from django.core.files.base import File
from django.core.files.storage import storages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header, parse_etags

from diagnosis.images.names import display_name

PIECE = 256 * 1024
CACHE_SECONDS = 3600
"""One sitting: the bytes under an address never change, but the person at the screen does."""

_EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def serve_blob(
    request: HttpRequest, *, storage_name: str, content_type: str, size: int, etag: str, file_name: str
) -> HttpResponseBase:
    """Answer GET or HEAD with a file of the storage "smears". The caller has checked that this user may
    have it.

    Understands If-None-Match (304), and one byte range with If-Range (206, 416). Several ranges get the
    whole file, as RFC 9110 allows. Never holds more than a piece in memory.
    """
    headers = _headers(content_type, etag, file_name)
    if _matches(request.headers.get("If-None-Match", ""), etag):
        return HttpResponse(status=304, headers=headers)
    if request.method == "HEAD":
        return HttpResponse(headers=headers | {"Content-Length": str(size)})
    wanted = _wanted_range(request, etag, size)
    if wanted is None:
        return _stream(storage_name, 0, size, 200, headers)
    start, end = wanted
    if start >= end:
        return HttpResponse(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    partial = headers | {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return _stream(storage_name, start, end, 206, partial)


def _headers(content_type: str, etag: str, file_name: str) -> dict[str, str]:
    """Of an unknown type nothing is shown; of a known one nothing can run."""
    extension = _EXTENSIONS.get(content_type)
    name = display_name(file_name)
    shown = str(PurePosixPath(name).with_suffix(extension)) if extension else name
    return {
        "Content-Type": content_type if extension else "application/octet-stream",
        "Content-Disposition": content_disposition_header(extension is None, shown) or "inline",
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={CACHE_SECONDS}, immutable",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def _matches(header: str, etag: str) -> bool:
    """Weak comparison, as RFC 9110 wants it for If-None-Match."""
    given = parse_etags(header)
    return "*" in given or etag.removeprefix("W/") in {one.removeprefix("W/") for one in given}


def _wanted_range(request: HttpRequest, etag: str, size: int) -> tuple[int, int] | None:
    """(start, end) of the one range asked for, empty if it lies outside; None where the whole file is
    meant."""
    match = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if match is None or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _stream(name: str, start: int, end: int, status: int, headers: dict[str, str]) -> StreamingHttpResponse:
    try:
        opened = storages["smears"].open(name)
    except FileNotFoundError as error:
        raise Http404("The stored file is missing.") from error
    headers = headers | {"Content-Length": str(end - start)}
    return StreamingHttpResponse(_Pieces(opened, start, end), status=status, headers=headers)


class _Pieces:
    """The bytes from `start` up to `end`; Django closes it, and so the file, with the response."""

    def __init__(self, opened: File[bytes], start: int, end: int) -> None:
        self.opened, self.start, self.end = opened, start, end

    def __iter__(self) -> Iterator[bytes]:
        self.opened.seek(self.start)
        left = self.end - self.start
        while left and (piece := self.opened.read(min(PIECE, left))):
            left -= len(piece)
            yield piece

    def close(self) -> None:
        self.opened.close()
