"""Pictures for these tests, drawn by code, and the means to take their files apart."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diagnosis.images.intake import CleanImage, ImageRejected, clean_image
from diagnosis.images.limits import ImageLimits

CANARY = b"CANARY-Ruiz-Ana-MRN-4711"
TINY = ImageLimits(min_side=1)


def smear(width: int = 96, height: int = 64, seed: int = 7) -> Image.Image:
    """Pale ground, pink red cells, purple nuclei, a little noise; no two corners alike."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    colours = np.empty((height, width, 3), np.float32)
    colours[:] = (236, 226, 232)
    colours += (rows[..., None] + columns[..., None]) / (height + width) * 12 - 6
    for colour, count, radius in (((226, 168, 178), 10, 0.10), ((104, 60, 150), 4, 0.13)):
        for _ in range(count):
            y, x = rng.uniform(0, height), rng.uniform(0, width)
            colours[(rows - y) ** 2 + (columns - x) ** 2 < (radius * min(width, height)) ** 2] = colour
    colours += rng.normal(0, 2, colours.shape)
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def rgb(data_or_image: bytes | Image.Image) -> NDArray[np.int16]:
    image = decoded(data_or_image) if isinstance(data_or_image, bytes) else data_or_image
    return np.asarray(image.convert("RGB")).astype(np.int16)


def farthest(one: bytes | Image.Image, other: bytes | Image.Image) -> int:
    """The largest difference of any channel of any pixel."""
    return int(np.abs(rgb(one) - rgb(other)).max())


def clean(data: bytes, name: str = "field.jpg", limits: ImageLimits = ImageLimits()) -> CleanImage:  # noqa: B008
    return clean_image(data, file_name=name, limits=limits)


def refused(data: bytes, name: str = "field_03.jpg", limits: ImageLimits = ImageLimits()) -> str:  # noqa: B008
    """The code of the refusal; its sentence must name the file and say what to do."""
    with pytest.raises(ImageRejected) as caught:
        clean_image(data, file_name=name, limits=limits)
    message = caught.value.message
    assert name in message
    assert message.endswith(".")
    assert len(message.split(". ")) >= 2
    return caught.value.code


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def after_start(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments put behind its start marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def jpeg_segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of every segment up to the first scan."""
    at = 2
    while True:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        yield marker, at, at + 2 + length
        if marker == 0xDA:
            return
        at += 2 + length


def exif(orientation: int = 1) -> bytes:
    """An EXIF block with an orientation, a name and a place in it."""
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x013B] = CANARY.decode()
    block.get_ifd(0x8825)[29] = CANARY.decode()
    return block.tobytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG from its raw rows (with filter bytes); extra chunks go before the picture."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    picture = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(extra) + picture + png_chunk(b"IEND", b"")


def after_png_header(data: bytes, *chunks: bytes) -> bytes:
    return data[:33] + b"".join(chunks) + data[33:]


def riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def with_riff_chunks(webp: bytes, *chunks: bytes) -> bytes:
    body = webp[8:] + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(entries: list[tuple[int, int, int, int]], pixels: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF with one directory of (tag, type, count, value); pixels begin at byte 8."""
    offset = 8 + len(pixels) + len(pixels) % 2
    table = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    directory = struct.pack("<H", len(entries)) + table + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", offset) + pixels.ljust(offset - 8, b"\0") + directory
