"""Nothing but the picture is stored: a canary is put wherever a format has room for one."""

from __future__ import annotations

import struct

import pytest
from PIL import ImageCms, PngImagePlugin, TiffImagePlugin

from diagnosis.images.intake import CleanImage
from tests.diagnosis.images.pictures import (
    CANARY,
    after_png_header,
    after_start,
    clean,
    decoded,
    encoded,
    exif,
    farthest,
    jpeg_segment,
    jpeg_segments,
    png_chunk,
    riff_chunk,
    smear,
    with_riff_chunks,
)

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + CANARY
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + CANARY + b"</x:xmpmeta>"
TAILS = {
    "html": b"<html><script>alert(1)</script></html>" + CANARY,
    "zip": b"PK\x03\x04" + CANARY + b"PK\x05\x06" + bytes(18),
    "second jpeg": encoded(smear(seed=8), "JPEG", comment=CANARY),
}


def assert_nothing_rides_along(result: CleanImage) -> None:
    assert CANARY not in result.data
    assert b"Ruiz" not in result.data
    assert b"<script" not in result.data
    stored = decoded(result.data)
    harmless = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "adobe", "adobe_transform"}
    harmless |= {"loop", "background", "timestamp", "duration", "progressive", "progression"}
    assert set(stored.info) <= harmless
    assert not dict(stored.getexif())


JPEG_PLACES = {
    **{f"APP{n}": jpeg_segment(0xE0 + n, b"Name\0" + CANARY) for n in range(16)},
    "comment": jpeg_segment(0xFE, CANARY),
    "exif with a place": jpeg_segment(0xE1, b"Exif\0\0" + exif().removeprefix(b"Exif\0\0")),
    "xmp": jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
    "icc": jpeg_segment(0xE2, b"ICC_PROFILE\0\x01\x01" + PROFILE[:60_000]),
    "iptc": jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x20" + CANARY),
    "jfif with thumbnail": jpeg_segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\x04\x02" + CANARY),
    "long adobe": jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + CANARY),
    "unused quantisation table": jpeg_segment(0xDB, b"\3" + CANARY.ljust(64, b"R")),
    "unused Huffman table": jpeg_segment(0xC4, b"\x13" + bytes(14) + b"\0" + bytes([len(CANARY)]) + CANARY),
    "junk between segments": jpeg_segment(0xFE, b"x") + CANARY,
}


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("place", JPEG_PLACES)
def test_jpeg_keeps_no_segment(place: str, progressive: bool) -> None:
    original = encoded(smear(), "JPEG", progressive=progressive)
    result = clean(after_start(original, JPEG_PLACES[place]))
    assert_nothing_rides_along(result)
    assert farthest(result.data, original) == 0


def test_jpeg_keeps_no_segment_between_scans() -> None:
    original = encoded(smear(), "JPEG", progressive=True)
    last = original.rindex(b"\xff\xda")
    result = clean(original[:last] + jpeg_segment(0xFE, CANARY) + jpeg_segment(0xE5, CANARY) + original[last:])
    assert_nothing_rides_along(result)
    assert farthest(result.data, original) == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("tail", TAILS)
def test_the_tail_of_a_polyglot_is_gone(kind: str, tail: str) -> None:
    original = encoded(smear(), kind)
    result = clean(original + TAILS[tail])
    assert_nothing_rides_along(result)
    assert b"PK\x05\x06" not in result.data
    assert farthest(result.data, original) == 0


def test_a_stored_jpeg_holds_only_segments_a_decoder_needs() -> None:
    result = clean(after_start(encoded(smear(), "JPEG", comment=CANARY), *JPEG_PLACES.values()))
    assert {marker for marker, _, _ in jpeg_segments(result.data)} == {0xDB, 0xC0, 0xC4, 0xDA}
    assert result.data.endswith(b"\xff\xd9")


def test_png_keeps_no_chunk_and_no_text() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", CANARY.decode())
    text.add_text("Packed", CANARY.decode() * 50, zip=True)
    text.add_itxt("International", CANARY.decode())
    original = encoded(smear(), "PNG", pnginfo=text, icc_profile=PROFILE, exif=exif(), dpi=(300, 300))
    crowded = after_png_header(original, png_chunk(b"prVt", CANARY), png_chunk(b"tIME", bytes(7)))
    result = clean(crowded)
    assert_nothing_rides_along(result)
    assert farthest(result.data, original) == 0


def compact_png() -> bytes:
    """Too wide for WebP, and packed harder than we would do it again."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", CANARY.decode())
    return encoded(smear(16_400, 40), "PNG", pnginfo=text, compress_level=9, optimize=True)


def test_a_png_that_is_kept_as_it_is_holds_only_its_picture() -> None:
    original = compact_png()
    result = clean(original)
    assert result.content_type == "image/png"
    assert_nothing_rides_along(result)
    assert len(result.data) <= len(original)
    assert farthest(result.data, original) == 0


def test_a_png_with_surplus_behind_its_deflate_stream_is_not_kept_as_it_is() -> None:
    original = clean(compact_png()).data
    at = original.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", original, at)
    body = original[at + 8 : at + 8 + length] + CANARY
    result = clean(original[:at] + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b""))
    assert_nothing_rides_along(result)
    assert farthest(result.data, original) == 0


def test_png_keeps_nothing_behind_its_deflate_stream() -> None:
    original = encoded(smear(), "PNG")
    at = original.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", original, at)
    body = original[at + 8 : at + 8 + length] + CANARY
    result = clean(original[:at] + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b""))
    assert_nothing_rides_along(result)


def test_tiff_keeps_no_tag() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432, 65000):
        tags[tag] = CANARY.decode()
    tags[700] = XMP
    original = encoded(smear(), "TIFF", tiffinfo=tags, icc_profile=PROFILE, exif=exif())
    assert original.count(CANARY) > 10
    result = clean(original)
    assert_nothing_rides_along(result)
    assert farthest(result.data, original) == 0


def test_bmp_keeps_no_gap_between_header_and_pixels() -> None:
    original = encoded(smear(), "BMP")
    (offset,) = struct.unpack_from("<I", original, 10)
    moved = bytearray(original[:offset] + CANARY + original[offset:])
    struct.pack_into("<I", moved, 10, offset + len(CANARY))
    result = clean(bytes(moved))
    assert_nothing_rides_along(result)
    assert farthest(result.data, original) == 0


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_keeps_no_chunk(lossless: bool) -> None:
    plain = encoded(smear(), "WEBP", lossless=lossless)
    original = encoded(smear(), "WEBP", lossless=lossless, icc_profile=PROFILE, exif=exif(), xmp=XMP)
    result = clean(with_riff_chunks(original, riff_chunk(b"NAME", CANARY)))
    assert_nothing_rides_along(result)
    assert farthest(result.data, plain) == 0
    assert len(result.data) <= len(plain)


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_keeps_nothing_behind_its_coded_picture(lossless: bool) -> None:
    """Inside the picture's own chunk, where the decoder does not look any more."""
    plain = encoded(smear(), "WEBP", lossless=lossless)
    padded = plain[12:20] + plain[20:].rstrip(b"\0") + CANARY * 2
    kind, body = padded[:4], padded[8:]
    chunk = riff_chunk(kind, body)
    result = clean(b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk)
    assert_nothing_rides_along(result)
    assert farthest(result.data, plain) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_carries_nothing_either(orientation: int) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        data = encoded(smear(), kind, exif=exif(orientation), icc_profile=PROFILE)
        assert CANARY in data
        assert_nothing_rides_along(clean(data))
