"""Every pixel format comes out as the picture a person sees, and everything else as a sentence."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ml.decode import DecodeError, decode


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def gradient() -> np.ndarray:
    rows, columns = np.mgrid[0:24, 0:32]
    return np.stack([rows * 10, columns * 7, rows + columns], axis=2).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_come_out_exactly(kind: str) -> None:
    picture = gradient()
    assert np.array_equal(decode(encoded(Image.fromarray(picture), kind)), picture)


def test_webp_without_loss_comes_out_exactly() -> None:
    picture = gradient()
    assert np.array_equal(decode(encoded(Image.fromarray(picture), "WEBP", lossless=True)), picture)


def test_jpeg_comes_out_nearly() -> None:
    decoded = decode(encoded(Image.fromarray(gradient()), "JPEG", quality=97, subsampling=0))
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - gradient()).mean() < 3


def test_it_applies_the_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decode(encoded(Image.fromarray(gradient()), "PNG", exif=exif))
    assert np.array_equal(upright, np.rot90(gradient(), -1))


def test_it_scales_16_bit_grey_by_the_format_not_by_the_content() -> None:
    samples = np.full((20, 20), 0x8000, dtype=np.uint16)
    decoded = decode(encoded(Image.fromarray(samples), "PNG"))
    assert decoded.shape == (20, 20, 3)
    assert set(np.unique(decoded)) <= {127, 128}


def test_dark_16_bit_pictures_stay_dark() -> None:
    samples = np.full((20, 20), 200, dtype=np.uint16)
    assert decode(encoded(Image.fromarray(samples), "TIFF")).max() <= 1


def test_it_scales_16_bit_colour() -> None:
    row = b"\x00" + struct.pack(">HHH", 0xFFFF, 0x8000, 0x0000) * 20

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"IDAT", zlib.compress(row * 20)) + chunk(b"IEND", b"")
    red, green, blue = decode(data)[3, 3]
    assert red == 255
    assert green in (127, 128)
    assert blue == 0


def test_grey_becomes_three_equal_channels() -> None:
    decoded = decode(encoded(Image.fromarray(gradient()).convert("L"), "PNG"))
    assert decoded.shape == (24, 32, 3)
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


def test_one_bit_pictures_become_black_and_white() -> None:
    decoded = decode(encoded(Image.fromarray(gradient()).convert("1"), "PNG"))
    assert set(np.unique(decoded)) == {0, 255}


def test_palette_colours_are_looked_up() -> None:
    flat = Image.new("RGB", (20, 20), (200, 30, 120))
    assert tuple(decode(encoded(flat.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"))[5, 5]) == (200, 30, 120)


def test_cmyk_is_converted_to_rgb() -> None:
    cyan = Image.new("CMYK", (20, 20), (255, 0, 0, 0))
    red, green, blue = decode(encoded(cyan, "TIFF"))[5, 5]
    assert red < 60
    assert green > 120
    assert blue > 120


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_transparency_is_composited_on_white(kind: str) -> None:
    layer = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    layer.putpixel((3, 3), (255, 0, 0, 255))
    decoded = decode(encoded(layer, kind))
    assert tuple(decoded[0, 0]) == (255, 255, 255)
    assert tuple(decoded[3, 3]) == (255, 0, 0)


def test_transparent_palette_entries_are_composited_on_white() -> None:
    picture = Image.new("P", (20, 20), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    assert tuple(decode(encoded(picture, "PNG", transparency=0))[0, 0]) == (255, 255, 255)


def test_only_the_first_page_of_a_tiff_counts() -> None:
    first, second = Image.new("RGB", (20, 20), (1, 2, 3)), Image.new("RGB", (30, 30))
    decoded = decode(encoded(first, "TIFF", save_all=True, append_images=[second]))
    assert decoded.shape == (20, 20, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_it_rejects_cut_off_files(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(DecodeError, match="damaged or cut off"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize(
    "data", [b"", b"not a picture", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff"]
)
def test_it_rejects_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert str(caught.value).endswith(".")


def test_it_rejects_formats_outside_the_list() -> None:
    with pytest.raises(DecodeError, match="not a JPEG"):
        decode(encoded(Image.fromarray(gradient()), "GIF"))


def test_it_refuses_a_huge_picture_from_its_header() -> None:
    header = struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(DecodeError, match="too large: at most 80 million pixels"):
        decode(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))


def test_the_pixel_limit_can_be_set() -> None:
    data = encoded(Image.fromarray(gradient()), "PNG")
    assert decode(data, max_pixels=24 * 32).shape == (24, 32, 3)
    with pytest.raises(DecodeError, match="too large: 32 x 24 pixels"):
        decode(data, max_pixels=24 * 32 - 1)
