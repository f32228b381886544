"""What a file is, is told by its bytes; only five kinds are let in."""

from __future__ import annotations

import io
import zipfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import override_settings

from diagnosis.images.intake import clean_image
from diagnosis.images.limits import ImageLimits
from tests.diagnosis.images.pictures import clean, decoded, encoded, png, refused, smear, tiff


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jpg", b"x")
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b'<?xml version="1.0"?><svg/>',
        b"<!doctype html><script>alert(1)</script>",
        b"%PDF-1.7\n1 0 obj\n<<>>\nendobj",
        b"#!/bin/sh\nrm -rf /\n",
        b"MZ" + bytes(200),
        b"\x7fELF" + bytes(200),
        b"BM" + b"A lie, two letters do not make a bitmap" * 5,
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
        b"\0\0\0\x18ftypheic" + bytes(100),
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        bytes(128) + b"DICM" + bytes(100),
        bytes(1000),
        encoded(smear(), "GIF"),
        encoded(smear(), "ICO", sizes=[(64, 64)]),
        encoded(smear(), "PPM"),
        encoded(smear(), "TGA"),
        encoded(smear(), "AVIF"),
        zipped(),
    ],
)
def test_it_refuses_whatever_is_not_one_of_five_formats(data: bytes) -> None:
    assert refused(data, "smear.jpg") == "not_an_image"


@pytest.mark.parametrize(("kind", "stored"), [("JPEG", "jpeg"), ("PNG", "webp"), ("TIFF", "webp"), ("BMP", "webp")])
def test_it_believes_the_bytes_not_the_name(kind: str, stored: str) -> None:
    result = clean(encoded(smear(), kind), "report.pdf.exe")
    assert result.content_type == f"image/{stored}"
    assert decoded(result.data).format == stored.upper()
    assert result.file_name == "report.pdf.exe"


def test_it_takes_an_uploaded_file() -> None:
    data = encoded(smear(), "JPEG")
    upload = SimpleUploadedFile("field.jpg", data, content_type="text/html")
    result = clean_image(upload, file_name=upload.name)
    assert (result.width, result.height, result.original_bytes) == (96, 64, len(data))


def test_the_hash_is_that_of_the_stored_bytes_and_repeats() -> None:
    import hashlib

    data = encoded(smear(), "PNG")
    first, second = clean(data), clean(data)
    assert first == second
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()


def test_it_reads_no_more_than_the_byte_limit() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= 1001
            self.given += size
            return b"\xff" * size

    with pytest.raises(Exception, match="larger than"):
        clean_image(Endless(), file_name="x.jpg", limits=ImageLimits(max_bytes=1000))


def test_it_refuses_an_empty_file() -> None:
    assert refused(b"") == "empty"


def test_limits_come_from_the_settings() -> None:
    data = encoded(smear(), "JPEG")
    with override_settings(IMAGE_MAX_BYTES=len(data) - 1):
        assert refused(data, limits=None) == "too_many_bytes"  # type: ignore[arg-type]
    with override_settings(IMAGE_MAX_PIXELS=96 * 64 - 1):
        assert refused(data, limits=None) == "too_many_pixels"  # type: ignore[arg-type]
    with override_settings(IMAGE_MAX_PIXELS=96 * 64, IMAGE_MAX_BYTES=len(data)):
        assert clean_image(data, file_name="x.jpg").width == 96


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_it_refuses_a_side_that_is_too_short(kind: str) -> None:
    assert refused(encoded(smear(31, 200), kind)) == "too_small"
    assert clean(encoded(smear(32, 200), kind)).width == 32


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_it_refuses_several_pictures_in_one_file(kind: str) -> None:
    both = encoded(smear(), kind, save_all=True, append_images=[smear(seed=8)])
    assert refused(both) == "several_pictures"


def test_it_keeps_only_the_first_picture_of_a_camera_file_with_a_preview() -> None:
    both = encoded(smear(), "MPO", save_all=True, append_images=[smear(seed=8)])
    result = clean(both)
    assert decoded(result.data).format == "JPEG"
    assert result.data.count(b"\xff\xd8\xff") == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (tiff([(256, 3, 1, 64), (257, 3, 1, 64), (259, 3, 1, 34712)]), "unsupported"),
        (tiff([(256, 3, 1, 64), (257, 3, 1, 64), (262, 3, 1, 32803)]), "unsupported"),
        (b"II+\0\x08\0\0\0" + bytes(40), "unsupported"),
        (encoded(smear().convert("F"), "TIFF"), "unsupported"),
        (encoded(smear().convert("L").convert("I"), "TIFF"), "unsupported"),
        (png(64, 64, 8, 5, bytes(64 * 65)), "corrupt"),
    ],
)
def test_it_refuses_codings_it_cannot_show_truthfully(data: bytes, code: str) -> None:
    assert refused(data) == code


@pytest.mark.parametrize(("marker", "code"), [(0xC3, "unsupported"), (0xC9, "unsupported"), (0xC5, "unsupported")])
def test_it_refuses_rare_jpeg_codings_by_name(marker: int, code: str) -> None:
    data = encoded(smear(), "JPEG")
    assert refused(data.replace(b"\xff\xc0", bytes([0xFF, marker]), 1)) == code


def test_it_refuses_12_bit_jpeg() -> None:
    data = bytearray(encoded(smear(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    assert refused(bytes(data)) == "unsupported"
