"""TIFF: check the directory, then write a new one that holds only what a decoder needs.

The pixel data stay where they are in the buffer; the decoder is pointed at a fresh directory without EXIF,
GPS, XMP, ICC, descriptions, further pages or nested directories, so none of these is ever parsed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from diagnosis.images.faults import corrupt, several_pictures, unsupported
from diagnosis.images.limits import ImageLimits
from diagnosis.images.orientation import valid

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION = 256, 257, 258, 259, 262, 274
SAMPLES, SAMPLE_FORMAT, TILE_WIDTH, TILE_HEIGHT, JPEG_TABLES = 277, 339, 322, 323, 347
_FEW: tuple[int, ...] = (WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, 266, SAMPLES, 278, 284, 317)
_FEW += (TILE_WIDTH, TILE_HEIGHT, 332, 338, SAMPLE_FORMAT, 529, 530, 531, 532)
_MOST_VALUES = dict.fromkeys(_FEW, 16) | dict.fromkeys((273, 279, 324, 325), 100_000)
_MOST_VALUES |= {320: 768, JPEG_TABLES: 65_536}
_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "Deflate", 32773: "PackBits", 32946: "Deflate"}
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_LARGEST_TILE_SIDE = 65_536


@dataclass(frozen=True)
class TiffPicture:
    """A TIFF whose directory holds only what makes the picture."""

    data: bytes
    orientation: int
    full_scale: int
    """The sample value that means white (or black, where `inverted`)."""
    inverted: bool
    """White as zero, which the decoder undoes for shallow pictures but not for 16-bit ones."""


@dataclass(frozen=True)
class _Directory:
    data: bytes
    order: str
    entries: dict[int, bytes]

    def value(self, tag: int, default: int) -> int:
        """The first value of a whole-number tag."""
        if tag not in self.entries:
            return default
        kind, count = struct.unpack_from(self.order + "HI", self.entries[tag], 2)
        code = {1: "B", 3: "H", 4: "I"}.get(kind)
        if code is None or count == 0:
            raise corrupt()
        size = count * _TYPE_SIZES[kind]
        at = struct.unpack_from(self.order + "I", self.entries[tag], 8)[0] if size > 4 else 8
        source = self.data if size > 4 else self.entries[tag]
        return int(struct.unpack_from(self.order + code, source, at)[0])


def read(data: bytes, limits: ImageLimits) -> TiffPicture:
    """Check the first directory and rewrite it; refuse further pages, and codings without a sound decoder."""
    if data[2:4] in (b"+\0", b"\0+"):
        raise unsupported("the BigTIFF format")
    try:
        directory = _read_directory(data)
        _check(directory, limits)
        return TiffPicture(
            data=_with_new_directory(directory),
            orientation=valid(directory.value(ORIENTATION, 1)),
            full_scale=(1 << directory.value(BITS, 1)) - 1,
            inverted=directory.value(PHOTOMETRIC, 1) == 0,
        )
    except struct.error as error:
        raise corrupt() from error


def _read_directory(data: bytes) -> _Directory:
    order = "<" if data[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, offset)
    end = offset + 2 + 12 * count
    (following,) = struct.unpack_from(order + "I", data, end) if end + 4 <= len(data) else (0,)
    if following:
        raise several_pictures()
    raw = [data[offset + 2 + 12 * n : offset + 14 + 12 * n] for n in range(count)]
    if not raw or len(raw[-1]) != 12:
        raise corrupt()
    return _Directory(data, order, {struct.unpack_from(order + "H", entry)[0]: entry for entry in raw})


def _check(directory: _Directory, limits: ImageLimits) -> None:
    width, height = directory.value(WIDTH, 0), directory.value(HEIGHT, 0)
    limits.check_size(width, height)
    if directory.value(COMPRESSION, 1) not in _COMPRESSIONS:
        raise unsupported("a rare TIFF compression")
    if directory.value(SAMPLE_FORMAT, 1) != 1 or directory.value(BITS, 1) > 16:
        raise unsupported("floating-point, signed or 32-bit numbers instead of colours")
    if directory.value(PHOTOMETRIC, 1) not in (0, 1, 2, 3, 5, 6) or directory.value(SAMPLES, 1) > 6:
        raise unsupported("a scientific colour space")
    tile_width, tile_height = directory.value(TILE_WIDTH, 1), directory.value(TILE_HEIGHT, 1)
    if max(tile_width, tile_height) > _LARGEST_TILE_SIDE or tile_width * tile_height > limits.max_pixels:
        raise corrupt()
    for tag, entry in directory.entries.items():
        if tag in _MOST_VALUES:
            _check_entry(directory, tag, entry)


def _check_entry(directory: _Directory, tag: int, entry: bytes) -> None:
    """A value list may not be longer than the picture can need, nor lie outside of the file."""
    kind, count, at = struct.unpack_from(directory.order + "HII", entry, 2)
    size = count * _TYPE_SIZES.get(kind, 1 << 30)
    if count > _MOST_VALUES[tag] or (size > 4 and at + size > len(directory.data)):
        raise corrupt()


def _with_new_directory(directory: _Directory) -> bytes:
    kept = sorted(tag for tag in directory.entries if tag in _MOST_VALUES)
    padding = b"\0" * (len(directory.data) % 2)
    offset = struct.pack(directory.order + "I", len(directory.data) + len(padding))
    table = struct.pack(directory.order + "H", len(kept)) + b"".join(directory.entries[tag] for tag in kept)
    return b"".join((directory.data[:4], offset, directory.data[8:], padding, table, b"\0\0\0\0"))
