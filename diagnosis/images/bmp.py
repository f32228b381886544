"""BMP: check the header before a decoder sees it."""

from __future__ import annotations

import struct

from diagnosis.images.faults import corrupt, unsupported
from diagnosis.images.limits import ImageLimits

SIGNATURE = b"BM"
_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_UNCOMPRESSED = (0, 3, 6)


def looks_like(data: bytes) -> bool:
    """Two letters are too weak a signature: the header size must be one that exists."""
    return data.startswith(SIGNATURE) and int.from_bytes(data[14:18], "little") in _HEADER_SIZES


def check(data: bytes, limits: ImageLimits) -> None:
    """Refuse by size, and refuse run-length coding, which only the oldest programs write."""
    try:
        (header,) = struct.unpack_from("<I", data, 14)
        if header == 12:
            width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
            compression = 0
        else:
            width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    except struct.error as error:
        raise corrupt() from error
    limits.check_size(width, abs(height))
    if compression not in _UNCOMPRESSED:
        raise unsupported("a compressed BMP coding")
    if bits not in (1, 4, 8, 16, 24, 32):
        raise corrupt()
