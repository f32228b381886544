"""What the camera meant as up is up in the stored bytes, and no tag is left that could turn it again."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.diagnosis.images.pictures import after_start, clean, decoded, encoded, exif, jpeg_segment, rgb, smear


def meant(image: Image.Image, orientation: int) -> Image.Image:
    turned = image.copy()
    turned.getexif()[0x0112] = orientation
    return ImageOps.exif_transpose(turned)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_lossless_formats_are_turned_exactly(kind: str, orientation: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    result = clean(encoded(smear(), kind, exif=exif(orientation), **options))
    expected = meant(smear(), orientation)
    assert (result.width, result.height) == expected.size
    assert (rgb(result.data) == rgb(expected)).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned_with_its_own_tables(orientation: int, subsampling: int, mode: str) -> None:
    image = smear(160, 96).convert(mode)
    data = encoded(image, "JPEG", quality=85, subsampling=subsampling, exif=exif(orientation))
    result = clean(data)
    expected = meant(decoded(encoded(image, "JPEG", quality=85, subsampling=subsampling)), orientation)
    assert result.content_type == "image/jpeg"
    assert (result.width, result.height) == expected.size == decoded(result.data).size
    assert np.abs(rgb(result.data) - rgb(expected)).mean() < (2.0 if mode == "CMYK" else 1.0)
    if mode != "CMYK" or subsampling == 0:
        assert len(result.data) <= len(data)
    assert b"JFIF" not in result.data


def test_an_upright_jpeg_is_not_coded_again() -> None:
    plain = encoded(smear(), "JPEG")
    assert clean(encoded(smear(), "JPEG", exif=exif(1))).data == clean(plain).data


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0\x06\0\0\0",
        b"XX*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
    ],
)
def test_a_damaged_exif_block_means_upright(block: bytes) -> None:
    plain = encoded(smear(), "JPEG")
    assert clean(after_start(plain, jpeg_segment(0xE1, b"Exif\0\0" + block))).data == clean(plain).data


def test_the_first_exif_block_counts() -> None:
    turned, upright = (jpeg_segment(0xE1, b"Exif\0\0" + exif(n).removeprefix(b"Exif\0\0")) for n in (6, 1))
    plain = encoded(smear(), "JPEG")
    assert clean(after_start(plain, turned, upright)).width == 64
    assert clean(after_start(plain, upright, turned)).width == 96
