"""Every colour mode arrives as the 8-bit picture it shows."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.diagnosis.images.pictures import (
    after_png_header,
    after_start,
    clean,
    decoded,
    encoded,
    farthest,
    jpeg_segment,
    png,
    png_chunk,
    refused,
    rgb,
    smear,
    tiff,
)

RAMP = np.linspace(0, 65_535, 64 * 64).astype(np.uint16).reshape(64, 64)
EXACT = ((RAMP.astype(np.float64) / 257).round()).astype(np.int16)


def grey_of(data: bytes) -> NDArray[np.int16]:
    colours = rgb(data)
    assert (colours[..., 0] == colours[..., 1]).all()
    assert (colours[..., 0] == colours[..., 2]).all()
    return colours[..., 0]


def png_rows(samples: NDArray[np.uint16]) -> bytes:
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_shallow_modes_come_out_as_they_show(kind: str, mode: str) -> None:
    image = smear().convert(mode)
    result = clean(encoded(image, kind))
    assert farthest(result.data, image) == 0
    assert decoded(result.data).mode in ("L", "RGB")


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA"])
def test_tiff_codings_come_out_as_they_show(mode: str, compression: str | None) -> None:
    image = smear().convert(mode)
    assert farthest(clean(encoded(image, "TIFF", compression=compression)).data, image) == 0


def test_jpeg_inside_tiff_comes_out_as_it_shows() -> None:
    data = encoded(smear(), "TIFF", compression="jpeg", quality=95)
    assert farthest(clean(data).data, data) == 0


def test_tiled_tiff_comes_out_as_it_shows() -> None:
    pixels = rgb(smear(64, 64)).astype(np.uint8)
    tiles = b"".join(pixels[y : y + 32, x : x + 32].tobytes() for y in (0, 32) for x in (0, 32))
    lists = struct.pack("<4I", *(8 + n * 3072 for n in range(4))) + struct.pack("<4I", *[3072] * 4)
    at = 8 + len(tiles)
    entries = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 3, at + 32), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(277, 3, 1, 3), (322, 3, 1, 32), (323, 3, 1, 32), (324, 4, 4, at), (325, 4, 4, at + 16)]
    data = tiff(entries, tiles + lists + struct.pack("<3H", 8, 8, 8))
    assert farthest(clean(data).data, smear(64, 64)) == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    stored = grey_of(clean(encoded(Image.fromarray(RAMP), kind)).data)
    assert (stored == EXACT).all()


def test_16_bit_big_endian_grey_is_scaled() -> None:
    entries = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, 8192)]
    little = tiff(entries, RAMP.tobytes())
    assert (grey_of(clean(little).data) == EXACT).all()
    table = b"".join(
        struct.pack(">HHIHH", tag, kind, count, value, 0)
        if kind == 3
        else struct.pack(">HHII", tag, kind, count, value)
        for tag, kind, count, value in entries
    )
    big = b"MM\0*" + struct.pack(">I", 8200) + RAMP.astype(">u2").tobytes()
    big += struct.pack(">H", len(entries)) + table + bytes(4)
    assert (grey_of(clean(big).data) == EXACT).all()


def test_16_bit_grey_with_white_as_zero_is_turned_over() -> None:
    entries = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 0)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, 8192)]
    assert (grey_of(clean(tiff(entries, RAMP.tobytes())).data) == 255 - EXACT).all()


def test_12_bit_grey_fills_the_whole_scale() -> None:
    values = np.linspace(0, 4095, 4096).astype(np.uint16)
    first, second = values[::2], values[1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8).tobytes()
    entries = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, len(packed))]
    stored = grey_of(clean(tiff(entries, packed)).data)
    assert (stored.ravel() == (values * 255.0 / 4095).round()).all()


@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_colour_png_is_scaled(alpha: bool) -> None:
    channels = [RAMP, RAMP[::-1], RAMP.T] + ([np.full_like(RAMP, 65_535)] if alpha else [])
    samples = np.stack(channels, axis=2).reshape(64, -1)
    stored = rgb(clean(png(64, 64, 16, 6 if alpha else 2, png_rows(samples))).data)
    expected = np.stack([EXACT, EXACT[::-1], EXACT.T], axis=2)
    assert np.abs(stored - expected).max() <= 1
    assert stored.max() == 255


def test_16_bit_colour_tiff_is_scaled() -> None:
    pixels = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2).tobytes()
    at = 8 + len(pixels)
    entries = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 3, at), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, 64), (279, 4, 1, len(pixels))]
    stored = rgb(clean(tiff(entries, pixels + struct.pack("<3H", 16, 16, 16))).data)
    assert np.abs(stored - np.stack([EXACT, EXACT[::-1], EXACT.T], axis=2)).max() <= 1


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("TIFF", "RGBA"), ("WEBP", "RGBA")])
def test_transparency_shows_white(kind: str, mode: str) -> None:
    image = smear().convert(mode)
    alpha = Image.fromarray(np.linspace(0, 255, 96 * 64).astype(np.uint8).reshape(64, 96))
    image.putalpha(alpha)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    stored = rgb(clean(encoded(image, kind, **options)).data)
    share = np.asarray(alpha).astype(np.float64)[..., None] / 255
    assert np.abs(stored - (rgb(smear().convert(mode)) * share + 255 * (1 - share))).max() <= 1
    assert (stored[0, 0] == 255).all()


def test_a_transparent_palette_colour_shows_white() -> None:
    image = smear().convert("P")
    hole = image.getpixel((5, 5))
    stored = rgb(clean(encoded(image, "PNG", transparency=hole)).data)
    holes = np.asarray(image) == hole
    assert (stored[holes] == 255).all()
    assert (stored[~holes] == rgb(image)[~holes]).all()


def test_a_transparent_key_colour_shows_white() -> None:
    rows = b"".join(b"\0" + bytes([40, 200] * 32) for _ in range(64))
    stored = grey_of(clean(png(64, 64, 8, 0, rows, png_chunk(b"tRNS", b"\0\x28"))).data)
    assert set(np.unique(stored)) == {200, 255}


def test_lossy_webp_with_solid_alpha_keeps_its_coded_picture() -> None:
    image = smear()
    data = encoded(image.convert("RGBA"), "WEBP", quality=80)
    result = clean(data)
    assert farthest(result.data, data) == 0
    assert len(result.data) <= len(data)


@pytest.mark.parametrize("quality", [75, 95])
def test_cmyk_jpeg_keeps_its_colours(quality: int) -> None:
    image = smear().convert("CMYK")
    data = encoded(image, "JPEG", quality=quality)
    assert farthest(clean(data).data, data) == 0
    assert np.abs(rgb(clean(data).data) - rgb(smear())).mean() < 4


def adobe(transform: int) -> bytes:
    return jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


JFIF = jpeg_segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


@pytest.mark.parametrize("ids", [b"\1\2\3", b"RGB", b"\0\1\2"])
@pytest.mark.parametrize("jfif", [False, True])
@pytest.mark.parametrize("transform", [None, 0, 1])
def test_colour_space_hints_of_jpeg_survive_their_segments(ids: bytes, jfif: bool, transform: int | None) -> None:
    """JFIF, APP14 and component letters decide between YCbCr and RGB: what a decoder saw before, it sees after."""
    bare = bytearray(clean(encoded(smear(), "JPEG", quality=95)).data)
    frame, scan = bare.index(b"\xff\xc0"), bare.index(b"\xff\xda")
    for number in range(3):
        bare[frame + 10 + 3 * number] = ids[number]
        bare[scan + 5 + 2 * number] = ids[number]
    hints = ([JFIF] if jfif else []) + ([adobe(transform)] if transform is not None else [])
    data = after_start(bytes(bare), *hints)
    assert farthest(clean(data).data, data) == 0


def test_ycck_jpeg_keeps_its_colours() -> None:
    data = encoded(smear().convert("CMYK"), "JPEG", quality=95)
    at = data.index(b"Adobe")
    ycck = data[: at + 11] + b"\2" + data[at + 12 :]
    assert farthest(ycck, data) > 50
    assert farthest(clean(ycck).data, ycck) == 0


def test_an_embedded_profile_changes_no_number() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("JPEG", "PNG", "TIFF"):
        with_profile, without = encoded(smear(), kind, icc_profile=profile), encoded(smear(), kind)
        assert farthest(clean(with_profile).data, without) == 0


def test_apple_private_png_is_refused() -> None:
    assert refused(after_png_header(encoded(smear(), "PNG"), png_chunk(b"CgBI", b"\x50\0\x20\2"))) == "unsupported"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_is_stored_is_never_larger_than_the_upload(kind: str, mode: str) -> None:
    for options in ({}, {"quality": 50}, {"optimize": True}):
        data = encoded(smear(300, 200).convert(mode), kind, **options)
        result = clean(data)
        assert len(result.data) <= len(data) == result.original_bytes
        assert farthest(result.data, data) <= (1 if (kind, mode) == ("JPEG", "L") else 0)
