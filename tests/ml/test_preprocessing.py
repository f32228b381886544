"""Each step does what its name says, and a list of steps is run as listed."""

from __future__ import annotations

import numpy as np
import pytest

from ml import preprocessing, reference, robustness
from ml.config import FIELD_STEPS
from ml.preprocessing import PreprocessingError, Step


def test_resize_keeps_a_picture_of_the_right_size_untouched() -> None:
    picture = reference.draw_smear(0)
    assert preprocessing.resize(picture, size=224) is picture


@pytest.mark.parametrize("shape", [(448, 600), (600, 448), (100, 150), (225, 224)])
def test_resize_gives_a_square_and_keeps_the_aspect(shape: tuple[int, int]) -> None:
    picture = np.zeros((*shape, 3), np.uint8)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    radius = min(shape) // 4
    picture[(rows - shape[0] / 2) ** 2 + (columns - shape[1] / 2) ** 2 < radius**2] = 255
    resized = preprocessing.resize(picture, size=112)
    assert resized.shape == (112, 112, 3)
    disc = resized[..., 0] > 127
    assert abs(disc.any(0).sum() - disc.any(1).sum()) <= 2
    assert abs(disc.any(0).sum() - 56) <= 2


def test_the_cover_hides_the_corner_and_nothing_else() -> None:
    picture = reference.draw_smear(1)
    covered = preprocessing.scale_bar_cover(picture)
    assert (covered[188:, 176:] == preprocessing.WHITE).all()
    assert np.array_equal(covered[:188], picture[:188])
    assert np.array_equal(covered[:, :176], picture[:, :176])


def test_the_cover_scales_with_the_picture() -> None:
    covered = preprocessing.scale_bar_cover(np.zeros((448, 448, 3), np.uint8))
    assert (covered[376:, 352:] == preprocessing.WHITE).all()
    assert covered[:376].max() == 0


def test_what_is_in_the_corner_makes_no_difference() -> None:
    plain, marked = reference.draw_smear(2), reference.draw_smear(2)
    marked[190:, 178:] = (255, 0, 0)
    assert np.array_equal(preprocessing.apply(plain, FIELD_STEPS), preprocessing.apply(marked, FIELD_STEPS))


@pytest.mark.parametrize("lamp", [(1.0, 1.0, 1.0), (0.95, 0.85, 0.7), (0.7, 0.8, 0.95)])
def test_the_covered_corner_tells_nothing_about_the_lamp(lamp: tuple[float, float, float]) -> None:
    """Covering before neutralising would leave the gain, and so the lamp's colour, in the corner."""
    tinted = np.clip(reference.draw_smear(2) * np.array(lamp), 0, 255).astype(np.uint8)
    seen = preprocessing.apply(tinted, [step for step in FIELD_STEPS if step.name != "normalise"])
    assert (seen[188:, 176:] == preprocessing.WHITE).all()


def test_neutralisation_undoes_the_colour_of_the_lamp() -> None:
    picture = reference.draw_smear(3)
    tinted = np.clip(np.rint(picture * np.array([0.95, 0.85, 0.7])), 0, 255).astype(np.uint8)
    plain = preprocessing.background_neutralisation(picture).astype(int)
    undone = preprocessing.background_neutralisation(tinted).astype(int)
    assert np.abs(picture.astype(int) - tinted).mean() > 25
    assert np.abs(plain - undone).mean() < 3


def test_neutralised_glass_is_white_without_a_tint() -> None:
    neutral = preprocessing.background_neutralisation(reference.draw_smear(4))
    assert np.allclose(preprocessing.background_colour(neutral), preprocessing.WHITE, atol=2)


def test_neutralisation_does_not_blow_up_a_black_picture() -> None:
    dark = np.full((64, 64, 3), 4, np.uint8)
    assert preprocessing.background_neutralisation(dark).max() <= 10


def test_denoise_removes_single_pixels() -> None:
    picture = np.full((32, 32, 3), 100, np.uint8)
    picture[10, 10] = 255
    assert (preprocessing.denoise(picture) == 100).all()


def test_contrast_spreads_lightness_and_keeps_grey_grey() -> None:
    flat = np.repeat(np.tile(np.linspace(120, 136, 64).astype(np.uint8), (64, 1))[..., None], 3, axis=2)
    stretched = preprocessing.contrast(flat)
    assert stretched.std() > 1.15 * flat.std()
    assert preprocessing.contrast(flat, clip_limit=8.0).std() > stretched.std()
    assert np.abs(stretched.astype(int) - stretched.astype(int).mean(2, keepdims=True)).max() <= 3


def test_stain_normalisation_brings_two_stains_together() -> None:
    picture = preprocessing.background_neutralisation(reference.draw_smear(5))
    other = robustness.stain_shift(picture, 1.4, 1.0, 0.7)
    nuclei = (picture.sum(2) < 420) & (other.sum(2) < 420)
    before = np.abs(picture[nuclei].astype(int) - other[nuclei]).mean()
    first, second = preprocessing.stain_normalisation(picture), preprocessing.stain_normalisation(other)
    assert np.abs(first[nuclei].astype(int) - second[nuclei]).mean() < before / 2


def test_stain_normalisation_leaves_empty_glass_alone() -> None:
    glass = np.full((64, 64, 3), 240, np.uint8)
    assert np.array_equal(preprocessing.stain_normalisation(glass), glass)


def test_normalise_gives_channels_first_and_standardised() -> None:
    picture = np.full((8, 6, 3), 255, np.uint8)
    ready = preprocessing.normalise(picture, mean=[0.5, 0.0, 1.0], deviation=[0.5, 1.0, 2.0])
    assert ready.shape == (3, 8, 6)
    assert ready.dtype == np.float32
    assert np.allclose(ready[:, 0, 0], [1.0, 1.0, 0.0])


def test_steps_that_are_off_do_nothing() -> None:
    picture = reference.draw_smear(6)
    assert np.array_equal(preprocessing.apply(picture, [Step("denoise", enabled=False)]), picture)


def test_steps_do_not_change_their_input() -> None:
    picture = reference.draw_smear(7)
    copy = picture.copy()
    for name in ("scale_bar_cover", "background_neutralisation", "denoise", "contrast", "stain_normalisation"):
        preprocessing.apply(picture, [Step(name)])
    assert np.array_equal(picture, copy)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (Step("sharpen"), "unknown preprocessing step 'sharpen'"),
        (Step("denoise", version=9), "version 9"),
        (Step("denoise", parameters={"strength": 3}), "'denoise' has unknown parameters"),
    ],
)
def test_unknown_steps_versions_and_parameters_are_errors(step: Step, sentence: str) -> None:
    with pytest.raises(PreprocessingError, match=sentence):
        preprocessing.apply(reference.draw_smear(8), [step])


def test_the_centre_is_cropped_and_a_smaller_picture_is_refused() -> None:
    picture = np.zeros((112, 120, 3), np.uint8)
    picture[8, 12] = 200
    cropped = preprocessing.centre_crop(picture, size=96)
    assert cropped.shape == (96, 96, 3)
    assert cropped[0, 0, 0] == 200
    with pytest.raises(preprocessing.PreprocessingError, match="no middle of 128"):
        preprocessing.centre_crop(picture, size=128)


@pytest.mark.parametrize(
    ("steps", "share"),
    [
        ([Step("normalise")], 1.0),
        ([Step("resize"), Step("centre_crop", parameters={"size": 160})], 160 / 224),
        ([Step("resize"), Step("centre_crop", enabled=False, parameters={"size": 160})], 1.0),
        ([Step("resize", parameters={"size": 300}), Step("centre_crop", parameters={"size": 240})], 0.8),
    ],
)
def test_how_much_of_a_picture_the_network_sees(steps: list[Step], share: float) -> None:
    assert preprocessing.share_seen(steps) == pytest.approx(share)
