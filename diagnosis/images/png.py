"""PNG: reduce the file to the chunks that make the picture, before a decoder sees it.

Text, profile and EXIF chunks may be compressed a thousandfold, so none of them reaches a decompressor. The
picture data themselves are inflated once in small pieces, to count them against what the header promises.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from diagnosis.images.faults import corrupt, several_pictures, unsupported
from diagnosis.images.limits import ImageLimits

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 256 * 1024


@dataclass(frozen=True)
class PngPicture:
    """A PNG reduced to what makes the picture."""

    data: bytes
    exif: bytes | None
    keepable: bool
    """Already 8-bit opaque grey or colour without one byte to spare: it may be stored as it is."""


def read(data: bytes, limits: ImageLimits) -> PngPicture:
    """Check sizes, checksums and completeness, and drop every chunk but the picture's own."""
    parts, exif = _picture_chunks(data, limits)
    if b"IDAT" not in parts or b"IEND" not in parts:
        raise corrupt()
    exact = _inflates_exactly(parts[b"IDAT"], _inflated_size(parts[b"IHDR"]))
    plain = parts[b"IHDR"][8] == 8 and parts[b"IHDR"][9] in (0, 2) and b"tRNS" not in parts
    return PngPicture(_written(parts), exif, keepable=exact and plain)


def _picture_chunks(data: bytes, limits: ImageLimits) -> tuple[dict[bytes, bytearray], bytes | None]:
    """The kept chunks, picture data joined, and the EXIF block."""
    parts: dict[bytes, bytearray] = {}
    exif = None
    for kind, body in _chunks(data):
        if not parts:
            _check_header(kind, body, limits)
        if kind in _ANIMATION:
            raise several_pictures()
        if kind == b"eXIf":
            exif = bytes(body)
        elif kind not in _KEPT and not kind[0] & 0x20:
            raise unsupported("a private kind of PNG")
        elif kind in _KEPT:
            if kind in parts and kind != b"IDAT":
                raise corrupt()
            parts.setdefault(kind, bytearray()).extend(body)
    return parts, exif


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Every chunk up to the end chunk, its checksum verified."""
    view, at = memoryview(data), len(SIGNATURE)
    while True:
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if len(kind) != 4 or end > len(data) or not kind.isalpha():
            raise corrupt()
        body = view[at + 8 : end - 4]
        if kind in _KEPT and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise corrupt()
        yield kind, body
        if kind == b"IEND":
            return
        at = end


def _check_header(kind: bytes, header: memoryview, limits: ImageLimits) -> None:
    if kind != b"IHDR" or len(header) != 13:
        raise corrupt()
    limits.check_size(int.from_bytes(header[:4]), int.from_bytes(header[4:8]))
    depth, colour, compression, filtering, interlace = header[8:13]
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise corrupt()


def _inflated_size(header: bytearray) -> int:
    """Bytes of all rows with their filter bytes."""
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    bits = header[8] * _SAMPLES[header[9]]
    passes = _PASSES if header[12] else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = ceil((width - left) / across), ceil((height - top) / down)
        if columns > 0 and rows > 0:
            total += rows * (1 + ceil(columns * bits / 8))
    return total


def _inflates_exactly(packed: bytearray, expected: int) -> bool:
    """False if the stream holds more than the picture; a fault if it holds less or its checksum is wrong."""
    inflater = zlib.decompressobj()
    count, pending = 0, bytes(packed)
    try:
        while not inflater.eof and count <= expected:
            piece = inflater.decompress(pending, _PIECE)
            pending = inflater.unconsumed_tail
            count += len(piece)
            if not piece and not pending and not inflater.eof:
                raise corrupt()
    except zlib.error as error:
        raise corrupt() from error
    if count < expected:
        raise corrupt()
    return inflater.eof and count == expected and not inflater.unused_data


def _written(parts: dict[bytes, bytearray]) -> bytes:
    out = bytearray(SIGNATURE)
    for kind in _KEPT:
        if kind in parts:
            body = kind + parts[kind] if kind != b"IEND" else kind
            out += (len(body) - 4).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    return bytes(out)
