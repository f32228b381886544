"""Unusable pictures are refused, each for its own reason; smears are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ml import decode, quality, reference
from ml.describe import THRESHOLDS


def reasons(picture: np.ndarray) -> tuple[str, ...]:
    return quality.reasons(quality.measure(picture), THRESHOLDS["field"])


@pytest.mark.parametrize("size", [160, 224, 512, 1024])
def test_a_drawn_smear_is_usable_at_any_resolution(size: int) -> None:
    assert reasons(reference.draw_smear(0, size=size)) == ()


def test_a_dim_yellow_lamp_is_no_reason_to_refuse() -> None:
    picture = np.clip(reference.draw_smear(1) * np.array([0.8, 0.75, 0.55]), 0, 255).astype(np.uint8)
    assert reasons(picture) == ()


@pytest.mark.parametrize("level", [0, 30, 128, 240, 255])
def test_an_evenly_filled_picture_is_refused(level: int) -> None:
    assert reasons(np.full((224, 224, 3), level, np.uint8))


def test_empty_glass_is_blank() -> None:
    noise = np.random.default_rng(0).normal(238, 3, (224, 224, 3))
    assert reasons(np.clip(noise, 0, 255).astype(np.uint8)) == ("blank",)


def test_a_small_picture_is_too_small() -> None:
    assert "too_small" in reasons(reference.draw_smear(2, size=64))


def test_a_dark_picture_is_too_dark() -> None:
    assert "too_dark" in reasons((reference.draw_smear(3) * 0.2).astype(np.uint8))


def test_a_blurred_smear_is_out_of_focus() -> None:
    assert reasons(cv2.GaussianBlur(reference.draw_smear(4), (0, 0), 5.0)) == ("out_of_focus",)


def test_a_picture_without_colour_is_not_a_smear() -> None:
    grey = cv2.cvtColor(reference.draw_smear(5), cv2.COLOR_RGB2GRAY)
    assert reasons(np.repeat(grey[..., None], 3, axis=2)) == ("not_a_smear",)


def test_other_hues_are_not_a_smear() -> None:
    assert reasons(np.ascontiguousarray(reference.draw_smear(6)[..., [0, 2, 1]])) == ("not_a_smear",)


def test_photographs_are_not_smears() -> None:
    from sklearn.datasets import load_sample_images

    for photograph in load_sample_images().images:
        assert reasons(photograph) == ("not_a_smear",)


def test_random_noise_is_refused() -> None:
    assert reasons(np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8))


def test_every_reason_has_a_sentence() -> None:
    for code, sentence in quality.REASONS.items():
        assert quality.describe((code,)) == sentence
        assert sentence.endswith(".")


def test_real_smears_are_hardly_ever_refused(smear_data: Path) -> None:
    files = sorted((smear_data / "taleqani").rglob("*.jpg"))[::13]
    refused = [path.name for path in files if reasons(decode.decode(path.read_bytes()))]
    assert len(refused) <= 0.01 * len(files), refused


def test_real_smears_blurred_beyond_use_are_refused(smear_data: Path) -> None:
    files = sorted((smear_data / "taleqani").rglob("*.jpg"))[::40]
    kept = [
        path.name for path in files if not reasons(cv2.GaussianBlur(decode.decode(path.read_bytes()), (0, 0), 4.0))
    ]
    assert len(kept) <= 0.01 * len(files), kept
