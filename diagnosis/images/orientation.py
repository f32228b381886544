"""The one EXIF tag that changes what is seen."""

from __future__ import annotations

import struct

from PIL import Image

_TAG = 274
_UPRIGHT = 1
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPS_SIDES = frozenset({5, 6, 7, 8})


def orientation_in(exif: bytes | None) -> int:
    """The orientation an EXIF block asks for; 1 (upright) where it is missing, damaged or out of range."""
    if not exif:
        return _UPRIGHT
    body = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    if order is None:
        return _UPRIGHT
    try:
        (offset,) = struct.unpack_from(order + "I", body, 4)
        (count,) = struct.unpack_from(order + "H", body, offset)
        for number in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", body, offset + 2 + 12 * number)
            if tag == _TAG and kind == 3:
                return valid(value)
    except struct.error:
        return _UPRIGHT
    return _UPRIGHT


def valid(value: int) -> int:
    return value if value in TRANSPOSITIONS else _UPRIGHT


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turned and mirrored as the camera meant it."""
    transposition = TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)
