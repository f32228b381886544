"""The drawn smears: stained enough to be looked at, labelled so that nobody takes them for real."""

import io

import numpy as np
from PIL import Image

from diagnosis.demo.smears import HEIGHT, WIDTH, draw_smear
from diagnosis.images.quality import assess


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def nuclei(picture: np.ndarray) -> float:
    """Share of pixels as dark and purple as chromatin."""
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return float(((green < 100) & (blue > green + 40) & (red < 150)).mean())


def test_the_same_seed_draws_the_same_smear_and_another_another() -> None:
    assert draw_smear(1, lymphoblasts=3) == draw_smear(1, lymphoblasts=3)
    assert draw_smear(1, lymphoblasts=3) != draw_smear(2, lymphoblasts=3)


def test_it_shows_as_many_nuclei_as_asked_for() -> None:
    none, few, many = (nuclei(pixels(draw_smear(5, lymphoblasts=count))) for count in (0, 3, 12))
    assert none < 0.005 < few < many / 2.5


def test_the_quality_check_takes_it_for_a_smear() -> None:
    verdict = assess(pixels(draw_smear(7, lymphoblasts=10)))
    assert verdict.verdict == "good"


def test_out_of_focus_has_no_edges() -> None:
    sharp, blurred = (pixels(draw_smear(7, lymphoblasts=10, out_of_focus=flag)) for flag in (False, True))
    above_caption = np.s_[: HEIGHT - 60, ::6, 1]
    steps = [np.abs(np.diff(picture[above_caption].astype(int))).max() for picture in (sharp, blurred)]
    assert steps[1] < steps[0] / 2


def test_the_caption_is_in_the_picture_even_when_it_is_out_of_focus() -> None:
    """Dark letters on a light plate in the lower right corner, in every picture at the same place."""
    first, second = (
        pixels(draw_smear(seed, lymphoblasts=9, out_of_focus=blurred)) for seed, blurred in ((1, False), (2, True))
    )
    corner = np.s_[HEIGHT - 16 : HEIGHT - 6, WIDTH - 88 : WIDTH - 9]
    assert first[corner].min() < 110
    assert first[corner].max() > 235
    assert np.abs(first[corner].astype(int) - second[corner].astype(int)).mean() < 6
