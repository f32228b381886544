"""A thumbnail is the whole field in small."""

from __future__ import annotations

import resource

import numpy as np
import pytest
from PIL import Image

from diagnosis.images.thumbnails import CONTENT_TYPE, make_thumbnail
from tests.diagnosis.images.pictures import CANARY, clean, decoded, encoded, rgb, smear


@pytest.mark.parametrize(
    ("size", "expected"), [((800, 600), (256, 192)), ((300, 750), (102, 256)), ((64, 48), (64, 48))]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_it_keeps_the_proportions_and_never_enlarges(
    kind: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    small = decoded(make_thumbnail(clean(encoded(smear(*size), kind)).data))
    assert small.format == "WEBP"
    assert CONTENT_TYPE == "image/webp"
    assert small.size == expected


def test_it_shows_the_whole_field_to_the_edges() -> None:
    field = np.full((800, 800, 3), 255, np.uint8)
    for rows, columns, colour in (
        (slice(0, 80), slice(0, 80), (255, 0, 0)),
        (slice(0, 80), slice(720, 800), (0, 160, 0)),
        (slice(720, 800), slice(0, 80), (0, 0, 255)),
        (slice(720, 800), slice(720, 800), (0, 0, 0)),
    ):
        field[rows, columns] = colour
    small = rgb(make_thumbnail(clean(encoded(Image.fromarray(field), "JPEG", quality=95)).data))
    for at, colour in (
        ((8, 8), (255, 0, 0)),
        ((8, 247), (0, 160, 0)),
        ((247, 8), (0, 0, 255)),
        ((247, 247), (0, 0, 0)),
    ):
        assert np.abs(small[at] - colour).max() < 40


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_colours_are_true(mode: str) -> None:
    image = smear(1024, 768).convert(mode)
    data = clean(encoded(image, "JPEG", quality=95)).data
    small = rgb(make_thumbnail(data))
    expected = rgb(decoded(data).convert("RGB").resize((256, 192), Image.Resampling.BOX))
    assert np.abs(small - expected).mean() < 4
    assert np.abs(small.mean((0, 1)) - expected.mean((0, 1))).max() < 1.5


def test_a_large_jpeg_is_never_decoded_at_full_size() -> None:
    data = encoded(smear(1000, 750).resize((6000, 4500)), "JPEG")
    make_thumbnail(encoded(smear(300, 200), "JPEG"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    make_thumbnail(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 * 1024


def test_it_carries_nothing_but_the_picture() -> None:
    data = encoded(smear(600, 400), "JPEG", comment=CANARY)
    thumbnail = make_thumbnail(data)
    assert CANARY not in thumbnail
    assert thumbnail[12:16] == b"VP8 "
