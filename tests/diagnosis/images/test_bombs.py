"""A header's promise is checked before memory is spent on it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.diagnosis.images.pictures import (
    after_png_header,
    after_start,
    encoded,
    jpeg_segment,
    png,
    png_chunk,
    refused,
    riff_chunk,
    smear,
    tiff,
    with_riff_chunks,
)

HUGE = 65_535
GROWTH_CAP = 64 * 1024 * 1024


def resized_jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded(smear(), "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def scans(count: int) -> bytes:
    data = encoded(smear(), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * count + data[-2:]


def many_pages(count: int) -> bytes:
    page = encoded(smear(), "TIFF")
    out = bytearray(page)
    for number in range(count):
        offset = len(out)
        struct.pack_into("<I", out, offset - 4 if number else _next_field(page), offset)
        out += struct.pack("<HHHII", 1, 256, 3, 1, 1) + b"\0\0\0\0"
    return bytes(out)


def _next_field(page: bytes) -> int:
    (offset,) = struct.unpack_from("<I", page, 4)
    return offset + 2 + 12 * struct.unpack_from("<H", page, offset)[0]


def bitmap(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 1, 0, 0, 0, 0, 2, 0)
    return b"BM" + struct.pack("<IHHI", 62 + 100, 0, 0, 62) + info + bytes(8) + bytes(100)


def lossless_webp(width: int, height: int) -> bytes:
    body = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + bytes(20)
    chunk = riff_chunk(b"VP8L", body)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def lossy_webp(width: int, height: int) -> bytes:
    data = bytearray(encoded(smear(), "WEBP"))
    struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a") + 3, width, height)
    return bytes(data)


def deflated(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes * 1024 * 1024), 9)


def text_bombs() -> bytes:
    """A sound small picture; each side chunk would inflate to 300 MB."""
    bomb = deflated(300)
    return after_png_header(
        encoded(smear(), "PNG"),
        png_chunk(b"iCCP", b"p\0\0" + bomb),
        png_chunk(b"zTXt", b"Comment\0\0" + bomb),
        png_chunk(b"iTXt", b"Comment\0\x01\0\0\0" + bomb),
    )


def overfull_png() -> bytes:
    """64 x 64 promised, 300 MB delivered."""
    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    parts = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", deflated(300)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


TOO_LARGE = {
    "png": png(HUGE, HUGE, 8, 6, b"\0"),
    "png, one bit": png(30_000, 30_000, 1, 0, bytes(100_000)),
    "tiff": tiff([(256, 4, 1, HUGE), (257, 4, 1, HUGE), (259, 3, 1, 5)]),
    "tiff beyond 32 bits": tiff([(256, 4, 1, 0xFFFFFFFF), (257, 4, 1, 0xFFFFFFFF)]),
    "bmp": bitmap(30_000, 30_000),
    "bmp upside down": bitmap(30_000, -30_000),
    "jpeg": resized_jpeg(65_500, 65_500),
    "webp lossless": lossless_webp(16_383, 16_383),
    "webp lossy": lossy_webp(16_383, 16_383),
}

OTHERS = {
    "tiff pages": (many_pages(20_000), "several_pictures"),
    "tiff tile": (
        tiff([(256, 3, 1, 64), (257, 3, 1, 64), (322, 4, 1, 0x7FFFFFF0), (323, 4, 1, 0x7FFFFFF0)]),
        "corrupt",
    ),
    "tiff strips": (tiff([(256, 3, 1, 64), (257, 3, 1, 64), (273, 4, 0x7FFFFFFF, 8)]), "corrupt"),
    "tiff depth": (tiff([(256, 3, 1, 64), (257, 3, 1, 64), (277, 3, 1, 60_000)]), "unsupported"),
    "jpeg scans": (scans(5_000), "unsupported"),
    "jpeg restarts": (
        after_start(resized_jpeg(7_000, 7_000), jpeg_segment(0xDD, b"\0\x01")),
        "corrupt",
    ),
}

CHILD = """
import json, resource, sys
from pathlib import Path
from django.conf import settings
settings.configure()
from diagnosis.images.intake import ImageRejected, clean_image
def run(path):
    try:
        return clean_image(Path(path).read_bytes(), file_name="x").content_type
    except ImageRejected as rejection:
        return rejection.code
first, *rest = sys.argv[1:]
run(first)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (address_space + 256 * 2**20,) * 2)
answers = [run(path) for path in rest]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"answers": answers, "growth": (after - before) * 1024}))
"""


@pytest.mark.parametrize("name", TOO_LARGE)
def test_it_refuses_by_the_size_in_the_header(name: str) -> None:
    assert refused(TOO_LARGE[name]) == "too_many_pixels"


@pytest.mark.parametrize("name", OTHERS)
def test_it_refuses_headers_that_would_keep_a_decoder_busy(name: str) -> None:
    data, code = OTHERS[name]
    assert refused(data) == code


def test_bombs_cost_no_memory(tmp_path: Path) -> None:
    """In a process of its own: 64 MB of growth is the cap, and 256 MB of address space a hard wall."""
    bombs = {
        **dict.fromkeys(TOO_LARGE, "too_many_pixels"),
        **{name: code for name, (_, code) in OTHERS.items()},
        "side chunks": "image/webp",
        "overfull": "image/webp",
    }
    data = TOO_LARGE | {name: bomb for name, (bomb, _) in OTHERS.items()}
    data |= {"side chunks": text_bombs(), "overfull": overfull_png()}
    paths = [tmp_path / "warm.jpg", *(tmp_path / str(number) for number in range(len(bombs)))]
    paths[0].write_bytes(encoded(smear(), "JPEG"))
    for path, name in zip(paths[1:], bombs, strict=True):
        path.write_bytes(data[name])
    command = [sys.executable, "-c", CHILD, *map(str, paths)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=root)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert dict(zip(bombs, report["answers"], strict=True)) == bombs
    assert report["growth"] < GROWTH_CAP


def test_side_chunks_of_webp_are_not_kept_however_many() -> None:
    from tests.diagnosis.images.pictures import clean

    data = encoded(smear(), "WEBP")
    crowded = with_riff_chunks(data, *[riff_chunk(b"JUNK", bytes(1000))] * 200)
    assert clean(crowded).data == clean(data).data
