"""The verdict says what is wrong with a picture that was spoilt on purpose, and leaves good ones alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from diagnosis.images.quality import QualityVerdict, assess
from tests.diagnosis.images.pictures import smear


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


def failed(verdict: QualityVerdict) -> set[str]:
    return {check["name"] for check in verdict.checks if not check["ok"]}


def field(width: int = 224, height: int = 224) -> Image.Image:
    return smear(width, height)


def test_a_sharp_stained_field_is_good() -> None:
    verdict = assess(pixels(field()))
    assert verdict.verdict == "good"
    assert [check["name"] for check in verdict.checks] == ["size", "sharpness", "exposure", "stain"]
    assert all(check["ok"] and check["sentence"].endswith(".") for check in verdict.checks)


@pytest.mark.parametrize(("side", "verdict"), [(40, "unusable"), (80, "warning"), (96, "good")])
def test_size(side: int, verdict: str) -> None:
    result = assess(pixels(field(side, 300)))
    assert result.verdict == verdict
    assert ("size" in failed(result)) == (verdict != "good")
    assert result.checks[0]["value"] == side


@pytest.mark.parametrize("scale", [1, 4])
def test_blur_is_found_at_any_camera_resolution(scale: int) -> None:
    sharp = field(400 * scale, 300 * scale)
    assert "sharpness" not in failed(assess(pixels(sharp)))
    blurred = assess(pixels(sharp.filter(ImageFilter.GaussianBlur(8 * scale))))
    assert blurred.verdict == "unusable"
    assert failed(blurred) == {"sharpness"}


@pytest.mark.parametrize(("factor", "verdict"), [(0.35, "warning"), (0.1, "unusable"), (0.0, "unusable")])
def test_darkness(factor: float, verdict: str) -> None:
    result = assess((pixels(field()) * factor).astype(np.uint8))
    assert result.verdict == verdict
    assert "exposure" in failed(result)


def test_a_burnt_out_field_is_unusable() -> None:
    result = assess((255 - (255 - pixels(field()).astype(np.float32)) * 0.08).astype(np.uint8))
    assert result.verdict == "unusable"
    assert "exposure" in failed(result)


@pytest.mark.parametrize("colour", [(255, 255, 255), (236, 226, 232), (0, 0, 0), (128, 128, 128)])
def test_a_blank_field_is_unusable(colour: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(3).normal(0, 1.5, (224, 224, 3))
    result = assess((np.array(colour) + noise).clip(0, 255).astype(np.uint8))
    assert result.verdict == "unusable"
    assert {"exposure", "stain"} <= failed(result)


def test_a_field_without_stained_nuclei_is_only_doubtful() -> None:
    result = assess(np.asarray(field().convert("L")))
    assert result.verdict == "warning"
    assert failed(result) == {"stain"}


def test_the_stain_value_is_the_share_of_purple() -> None:
    half = np.full((200, 200, 3), (236, 226, 232), np.uint8)
    half[:, :50] = (104, 60, 150)
    stain = assess(half).checks[3]
    assert stain["value"] == pytest.approx(0.25, abs=0.01)


def test_odd_shapes_do_not_stop_it() -> None:
    for shape in ((1, 1, 3), (2, 500, 3), (500, 2), (1, 40_000, 3)):
        assert assess(np.zeros(shape, np.uint8)).verdict == "unusable"


def test_real_smears_are_called_usable_and_spoilt_ones_are_not(smear_data: Path) -> None:
    """The rates in the module's docstring, on a sample."""
    for folder in ("taleqani", "pbc", "all_idb2", "deepapl"):
        images = [Image.open(path).convert("RGB") for path in sorted((smear_data / folder).rglob("*.jpg"))[::50]]
        as_is = [assess(pixels(image)).verdict for image in images]
        assert "unusable" not in as_is
        assert as_is.count("warning") <= 0.05 * len(as_is)
        radius = 3 * max(images[0].size) / 224
        blurred = [assess(pixels(image.filter(ImageFilter.GaussianBlur(radius)))).verdict for image in images]
        assert blurred.count("good") <= 0.05 * len(blurred)
        dark = [assess((pixels(image) * 0.15).astype(np.uint8)).verdict for image in images]
        assert set(dark) == {"unusable"}


def test_it_needs_neither_torch_nor_opencv() -> None:
    import subprocess
    import sys

    code = "import sys, diagnosis.images.quality; print({'torch', 'cv2', 'scipy'} & set(sys.modules))"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
