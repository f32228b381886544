"""The storage "smears": files in PostgreSQL, named by what they hold.

One backup and one transaction cover a case and its images. A name is the SHA-256 of the bytes, so the
same bytes are kept once, nothing is ever overwritten, and a name taken from an upload can reach nothing.
"""

from __future__ import annotations

import hashlib
import io
import re
from datetime import timedelta
from typing import IO, Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import Storage
from django.db.models import BinaryField, Exists, F, Func, OuterRef, QuerySet, Value
from django.db.models.functions import Now
from django.utils.deconstruct import deconstructible

from diagnosis.models import SmearImage, StoredBlob

PIECE = 256 * 1024
_LARGE_PIECE = 4 * 1024 * 1024
_NAME = re.compile(r"[0-9a-f]{64}")
_SIGNATURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}


@deconstructible
class PostgresStorage(Storage):
    """Django's storage interface over `StoredBlob`."""

    def save(self, name: str | None, content: IO[bytes], max_length: int | None = None) -> str:
        """Store the bytes unless they are stored; the name is always their hash, whatever was asked for.

        A blob that exists has its row locked and its date renewed: garbage collection running at the same moment
        then either spares it or is waited for, and the bytes are written again.
        """
        chunks = content.chunks() if hasattr(content, "chunks") else File(content).chunks()
        data = b"".join(chunks)
        sha256 = hashlib.sha256(data).hexdigest()
        if name and _NAME.fullmatch(name) and name != sha256:
            raise SuspiciousFileOperation("The bytes do not have the hash they are to be stored under.")
        blob = StoredBlob(sha256=sha256, size=len(data), content_type=_content_type(content, data), data=data)
        StoredBlob.objects.bulk_create(
            [blob], update_conflicts=True, unique_fields=["sha256"], update_fields=["created_at"]
        )
        return sha256

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        if mode != "rb":
            raise ValueError("A stored blob is only ever read.")
        reader = _BlobReader(name)
        opened: File[bytes] = File(io.BufferedReader(reader, PIECE), name=name)
        opened.size = reader.size
        return opened

    def exists(self, name: str) -> bool:
        return StoredBlob.objects.filter(pk=name).exists()

    def size(self, name: str) -> int:
        found = StoredBlob.objects.filter(pk=name).values_list("size", flat=True).first()
        if found is None:
            raise FileNotFoundError(name)
        return found

    def delete(self, name: str) -> None:
        """Nothing happens while an image shows these bytes: another case may have uploaded the same."""
        _unreferenced().filter(pk=name).delete()

    def url(self, name: str | None) -> str:
        raise NotImplementedError("Smears are only served by the view that checks who asks.")


def blobs_collect_garbage(*, older_than: timedelta = timedelta(days=1)) -> int:
    """Delete blobs that no image refers to; returns how many. The age spares uploads that are just being
    saved."""
    deleted, _ = _unreferenced().filter(created_at__lt=Now() - older_than).delete()
    return deleted


def _unreferenced() -> QuerySet[StoredBlob]:
    return StoredBlob.objects.filter(
        ~Exists(SmearImage.objects.filter(sha256=OuterRef("pk"))),
        ~Exists(SmearImage.objects.filter(thumbnail_sha256=OuterRef("pk"))),
    )


def _content_type(content: IO[bytes], data: bytes) -> str:
    declared = getattr(content, "content_type", None)
    guessed = (kind for signature, kind in _SIGNATURES.items() if data.startswith(signature))
    return declared or next(guessed, "application/octet-stream")


class _BlobReader(io.RawIOBase):
    """A seekable file over one blob that fetches what is read, in pieces; the first comes with the size.

    The column is stored EXTERNAL (uncompressed), so PostgreSQL reads only the pages a piece lies on.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.position = 0
        self.size, self._head = _piece_of(name, 0, PIECE)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        if origin + offset < 0:
            raise ValueError("Negative position in a stored blob.")
        self.position = origin + offset
        return self.position

    def readinto(self, target: Any, /) -> int:
        with memoryview(target).cast("B") as view:
            piece = self._fetch(len(view))
            view[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        parts = []
        while part := self._fetch(_LARGE_PIECE):
            parts.append(part)
        return b"".join(parts)

    def _fetch(self, count: int) -> bytes:
        start, end = self.position, min(self.position + count, self.size)
        if start >= end:
            return b""
        if end <= len(self._head):
            piece = self._head[start:end]
        else:
            _, piece = _piece_of(self.name, start, end - start)
        self.position += len(piece)
        return piece


def _piece_of(name: str, start: int, count: int) -> tuple[int, bytes]:
    """(size of the whole, the bytes asked for), in one query."""
    piece = Func(F("data"), Value(start + 1), Value(count), function="substring", output_field=BinaryField())
    found = StoredBlob.objects.filter(pk=name).values_list("size", piece).first()
    if found is None:
        raise FileNotFoundError(name)
    return int(found[0]), bytes(found[1])
