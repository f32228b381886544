"""Is this a usable picture of a stained smear at all? Measured before any model sees it.

A few plain numbers and limits from the manifest. They are coarse on purpose: what they refuse no haematologist would
read either. Limits are set on training images and their false refusals counted on held-out ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from PIL import Image

from ml.preprocessing import background_colour

VERSION = 1
SIDE = 224

REASONS: dict[str, str] = {
    "unreadable": "The file could not be read as a picture.",
    "too_small": "The picture has too few pixels.",
    "blank": "The picture is empty or evenly grey.",
    "too_dark": "The picture is too dark.",
    "out_of_focus": "The picture is out of focus.",
    "not_a_smear": "The colours are not those of a stained blood or marrow smear.",
    "unlike_training": "Unlike the pictures the model was trained on.",
    "wrong_scale": "The magnification is not one the model was trained at.",
    "low_confidence": "The model is not certain enough to suggest a class.",
}


@dataclass(frozen=True)
class Quality:
    """`side` shorter side in pixels; `light` glass brightness 0..255; `stained` share of pixels 0..1 that are clearly
    darker than the glass; `middle` brightness of the median pixel as a share of the glass, 0..1; `colour` share of
    pixels that are strongly coloured; `purple` share of those with the hues of azure-eosin stains; `sharpness` edge
    energy relative to contrast."""

    side: float
    light: float
    stained: float
    middle: float
    colour: float
    purple: float
    sharpness: float


def measure(picture: np.ndarray) -> Quality:
    """Quality of a decoded picture, uint8 RGB (H, W, 3); about a millisecond once it is 224 pixels wide."""
    side = min(picture.shape[:2])
    small = thumbnail(picture)
    glass = background_colour(small)
    balanced = np.clip(small / np.maximum(glass, 1.0), 0.0, 1.0).astype(np.float32)
    light = balanced @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    coloured, purple = hues(balanced)
    return Quality(
        side=float(side),
        light=float(glass.max()),
        stained=float((light < 0.85).mean()),
        middle=float(np.median(light)),
        colour=float(coloured.mean()),
        purple=float(purple.sum() / max(coloured.sum(), 1)),
        sharpness=sharpness(light),
    )


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """At most 224 pixels on the shorter side, aspect kept; small pictures stay as they are."""
    height, width = picture.shape[:2]
    if min(height, width) <= SIDE:
        return picture
    scale = SIDE / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def hues(balanced: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels are strongly coloured, and which of these are blue to salmon (hue 190..360 and 0..15 degrees)."""
    hsv = cv2.cvtColor(balanced, cv2.COLOR_RGB2HSV)
    coloured = hsv[..., 1] > 0.2
    return coloured, coloured & ((hsv[..., 0] >= 190.0) | (hsv[..., 0] <= 15.0))


def sharpness(light: np.ndarray) -> float:
    """Mean square of the Laplacian over the variance of the same picture, after a light noise filter."""
    smooth = cv2.GaussianBlur(light, (0, 0), 0.8)
    variance = float(smooth.var())
    if variance < 1e-6:
        return 0.0
    return float(np.mean(cv2.Laplacian(smooth, cv2.CV_32F) ** 2) / variance)


def reasons(quality: Quality, thresholds: Mapping[str, float]) -> tuple[str, ...]:
    """Codes of what is wrong, most telling first; empty when the picture is usable."""
    found = []
    if quality.side < thresholds["min_side"]:
        found.append("too_small")
    if quality.light < thresholds["min_light"]:
        found.append("too_dark")
    if quality.stained < thresholds["min_stained"]:
        found.append("blank")
    elif any(getattr(quality, name) < thresholds[f"min_{name}"] for name in ("colour", "purple", "middle")):
        found.append("not_a_smear")
    elif quality.sharpness < thresholds["min_sharpness"]:
        found.append("out_of_focus")
    return tuple(found)


def describe(codes: tuple[str, ...]) -> str:
    """The sentences for people."""
    return " ".join(REASONS[code] for code in codes)


def as_dict(quality: Quality) -> dict[str, float]:
    return asdict(quality)
