"""The named, versioned steps between a decoded picture and the network.

Every step takes and gives uint8 RGB (H, W, 3) and is pure: same picture, same parameters, same result. A manifest
lists the steps in order with their parameters, each on or off; training and prediction run the very same list.
The steps resize, normalise, denoise and contrast are those of the B-ALL papers (Ghaderzadeh et al., Int J Intell
Syst 2022); cover, neutralisation and stain normalisation remove what only tells the laboratory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image

WHITE = 243
Picture = np.ndarray


class PreprocessingError(ValueError):
    """A step is unknown, of another version, or has parameters it does not take."""


@dataclass(frozen=True)
class Step:
    """One entry of a manifest's preprocessing list."""

    name: str
    version: int = 1
    enabled: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)


def resize(picture: Picture, *, size: int = 224) -> Picture:
    """Shorter side to `size` pixels with antialiasing, then the centre square; the aspect is kept."""
    height, width = picture.shape[:2]
    if (height, width) == (size, size):
        return picture
    scale = size / min(height, width)
    target = (max(size, round(width * scale)), max(size, round(height * scale)))
    scaled = np.asarray(Image.fromarray(picture).resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0))
    top, left = (scaled.shape[0] - size) // 2, (scaled.shape[1] - size) // 2
    return np.ascontiguousarray(scaled[top : top + size, left : left + size])


def centre_crop(picture: Picture, *, size: int) -> Picture:
    """The middle square of `size` pixels. What a network learned on crops it should be shown as crops: seen whole, its
    last feature maps average over another share of border (Touvron et al., NeurIPS 2019)."""
    height, width = picture.shape[:2]
    if min(height, width) < size:
        raise PreprocessingError(f"a picture of {width} × {height} pixels has no middle of {size} × {size}")
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(picture[top : top + size, left : left + size])


def scale_bar_cover(
    picture: Picture, *, left: float = 176 / 224, top: float = 188 / 224, fill: int = WHITE
) -> Picture:
    """Paint the lower right corner, where scale bars sit; `left` and `top` are fractions of width and height."""
    covered = picture.copy()
    height, width = picture.shape[:2]
    covered[int(height * top) :, int(width * left) :] = fill
    return covered


def background_colour(picture: Picture, *, brightest: float = 0.15) -> np.ndarray:
    """Colour (3,) of the empty glass: the median of the brightest share of pixels, the covered corner left out."""
    height, width = picture.shape[:2]
    visible = np.ones((height, width), dtype=bool)
    visible[int(height * 188 / 224) :, int(width * 176 / 224) :] = False
    pixels = picture[visible]
    luminance = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    cut = np.quantile(luminance, 1.0 - brightest)
    return np.median(pixels[luminance >= cut], axis=0).astype(np.float32)


def background_neutralisation(
    picture: Picture, *, brightest: float = 0.15, white: int = WHITE, largest_gain: float = 2.5
) -> Picture:
    """Divide by the background colour, as if every microscope had the same lamp and white balance.

    The gain per channel is capped so that a dark picture is not turned into noise.
    """
    gain = np.clip(white / np.maximum(background_colour(picture, brightest=brightest), 1.0), 0.5, largest_gain)
    return np.clip(np.rint(picture * gain.astype(np.float32)), 0, 255).astype(np.uint8)


def denoise(picture: Picture, *, kernel: int = 3) -> Picture:
    """Median filter; `kernel` odd, in pixels."""
    return cv2.medianBlur(picture, kernel)


def contrast(picture: Picture, *, clip_limit: float = 2.0, tiles: int = 8) -> Picture:
    """CLAHE on the lightness alone (Zuiderveld 1994), so hues stay."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def stain_normalisation(
    picture: Picture,
    *,
    mean: Sequence[float] = (62.0, 12.0, -12.0),
    deviation: Sequence[float] = (22.0, 12.0, 12.0),
) -> Picture:
    """Bring mean and spread of the stained pixels in CIELAB to given values (Reinhard et al. 2001).

    Only the darker half of the lightness range counts, so a crowded field and a sparse one get the same treatment.
    A picture with next to no stain is returned unchanged.
    """
    lab = cv2.cvtColor(picture.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    dark, light = np.quantile(lab[..., 0], [0.02, 0.98])
    stained = lab[..., 0] < (dark + light) / 2
    if light - dark < 15.0:
        return picture
    values = lab[stained]
    spread = np.maximum(values.std(axis=0), 1e-3)
    moved = (values - values.mean(axis=0)) / spread * np.asarray(deviation, np.float32) + np.asarray(mean, np.float32)
    lab[stained] = moved
    lab[..., 0] = np.clip(lab[..., 0], 0, 100)
    return np.clip(np.rint(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * 255.0), 0, 255).astype(np.uint8)


def normalise(picture: Picture, *, mean: Sequence[float], deviation: Sequence[float]) -> np.ndarray:
    """Last step: float32 (3, H, W), per channel (value / 255 - mean) / deviation."""
    scaled = picture.astype(np.float32) / 255.0
    centred = (scaled - np.asarray(mean, np.float32)) / np.asarray(deviation, np.float32)
    return np.ascontiguousarray(centred.transpose(2, 0, 1))


STEPS: dict[tuple[str, int], Callable[..., np.ndarray]] = {
    ("resize", 1): resize,
    ("centre_crop", 1): centre_crop,
    ("scale_bar_cover", 1): scale_bar_cover,
    ("background_neutralisation", 1): background_neutralisation,
    ("denoise", 1): denoise,
    ("contrast", 1): contrast,
    ("stain_normalisation", 1): stain_normalisation,
    ("normalise", 1): normalise,
}


def share_seen(steps: Sequence[Step]) -> float:
    """How much of a square picture's side (0..1) the enabled steps leave for the network to see."""
    side, share = 0, 1.0
    for step in steps:
        if not step.enabled or step.name not in ("resize", "centre_crop"):
            continue
        size = int(step.parameters.get("size", 224))
        if step.name == "centre_crop" and side:
            share *= size / side
        side = size
    return share


def apply(picture: Picture, steps: Sequence[Step]) -> np.ndarray:
    """Run the enabled steps in order; raises PreprocessingError on a step this version does not know."""
    for step in steps:
        if not step.enabled:
            continue
        function = STEPS.get((step.name, step.version))
        if function is None:
            raise PreprocessingError(f"unknown preprocessing step {step.name!r} version {step.version}")
        try:
            picture = function(picture, **step.parameters)
        except TypeError as error:
            raise PreprocessingError(f"preprocessing step {step.name!r} has unknown parameters: {error}") from error
    return picture
