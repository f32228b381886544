"""WebP: walk the chunks, refuse animations, keep the coded picture alone.

A lossy WebP would grow several times if it were coded again without loss, so its own coded data are kept.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageChops

from diagnosis.images.faults import corrupt, several_pictures
from diagnosis.images.limits import ImageLimits

_SURPLUS_PROBE = 16
_ANIMATED = 0x02


@dataclass(frozen=True)
class WebpPicture:
    """A WebP reduced to what makes the picture."""

    data: bytes
    exif: bytes | None
    lossy: bool
    opaque: bool


def looks_like(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read(data: bytes, limits: ImageLimits) -> WebpPicture:
    """Check the sizes in every header and rebuild the file from canvas, alpha and picture chunks."""
    chunks = _chunks(data)
    extended = chunks.get(b"VP8X") or b"\0"
    if b"ANIM" in chunks or b"ANMF" in chunks or extended[0] & _ANIMATED:
        raise several_pictures()
    exif = chunks.get(b"EXIF")
    if b"VP8L" in chunks:
        limits.check_size(*_lossless_size(chunks[b"VP8L"]))
        return WebpPicture(_riff({b"VP8L": chunks[b"VP8L"]}), exif, lossy=False, opaque=False)
    if b"VP8 " not in chunks:
        raise corrupt()
    width, height = _lossy_size(chunks[b"VP8 "])
    limits.check_size(width, height)
    if b"ALPH" not in chunks:
        return WebpPicture(_riff({b"VP8 ": chunks[b"VP8 "]}), exif, lossy=True, opaque=True)
    canvas = b"\x10\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    parts = {b"VP8X": canvas, b"ALPH": chunks[b"ALPH"], b"VP8 ": chunks[b"VP8 "]}
    return WebpPicture(_riff(parts), exif, lossy=True, opaque=False)


def without_alpha(picture: WebpPicture) -> bytes:
    """The colour half of a lossy picture whose alpha turned out to be opaque everywhere."""
    return _riff({b"VP8 ": _chunks(picture.data)[b"VP8 "]})


def is_exact(data: bytes, decoded: Image.Image) -> bool:
    """Whether the picture needs its coded data to their end: if not, something rides along."""
    ((kind, body),) = _chunks(data).items()
    if len(body) <= _SURPLUS_PROBE:
        return False
    try:
        with Image.open(io.BytesIO(_riff({kind: body[:-_SURPLUS_PROBE]})), formats=("WEBP",)) as shortened:
            difference = ImageChops.difference(shortened.convert("RGB"), decoded.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError):
        return True
    return difference.getbbox() is not None


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Chunks by kind, the first of each; bytes after the declared end are left out."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise corrupt()
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= end:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > end:
            raise corrupt()
        found.setdefault(data[at : at + 4], data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return found


def _lossy_size(body: bytes) -> tuple[int, int]:
    if len(body) < 10 or body[3:6] != b"\x9d\x01\x2a":
        raise corrupt()
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _lossless_size(body: bytes) -> tuple[int, int]:
    if len(body) < 5 or body[0] != 0x2F:
        raise corrupt()
    bits = int.from_bytes(body[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _riff(chunks: dict[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + len(part).to_bytes(4, "little") + part + b"\0" * (len(part) % 2) for kind, part in chunks.items()
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body
