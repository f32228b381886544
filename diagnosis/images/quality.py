"""Is this picture fit to be read and classified? Four quick measures, without torch.

Thresholds come from real smears: 2000 images each of the `taleqani`, `pbc` and `deepapl` sets and all 259 of
`all_idb2`. As they are, 3 of 6259 draw a warning (all soft ones of `all_idb2`) and none is called unusable.
Spoilt on purpose (250 images of each set), this share is at least warned about, lowest and highest set:

- Gaussian blur of 2 / 3 / 4 px at a side of 224: 21-100 % / 98-100 % / 100 % (unusable: 0-88 / 9-98 / 81-99 %)
- brightness x 0.3: 100 %; x 0.15: 100 %, all of it unusable
- contrast x 0.1 towards white (burnt out), blank field with noise: 100 %, at least 99 % of it unusable
- colour removed (no stain to be seen): 100 %, as a warning only

Strong sensor noise hides blur from the sharpness measure in pictures too small to be averaged down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Verdict = Literal["good", "warning", "unusable"]
CheckName = Literal["size", "sharpness", "exposure", "stain"]

NORMAL_SIDE = 512
SIDE_UNUSABLE, SIDE_WARNING = 64, 96
SHARPNESS_UNUSABLE, SHARPNESS_WARNING = 0.005, 0.016
CONTRAST_UNUSABLE = 6.0
WHITE_POINT_UNUSABLE, WHITE_POINT_WARNING = 50.0, 100.0
MEAN_WARNING = 248.0
STAIN_WARNING = 0.002
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SEVERITY: dict[Verdict, int] = {"good": 0, "warning": 1, "unusable": 2}


class Check(TypedDict):
    """One measure; `sentence` is for the technician and says what to do."""

    name: CheckName
    ok: bool
    value: float
    sentence: str


@dataclass(frozen=True)
class QualityVerdict:
    """The worst of its checks."""

    verdict: Verdict
    checks: list[Check]


def assess(image: NDArray[np.uint8]) -> QualityVerdict:
    """Judge an RGB image (height, width, 3) or a grey one (height, width), uint8."""
    height, width = image.shape[:2]
    colours = _normalised(image).astype(np.float32)
    luma = colours @ _LUMA
    results = [_size(width, height), _sharpness(luma), _exposure(luma), _stain(colours)]
    verdict = max((severity for severity, _ in results), key=_SEVERITY.__getitem__)
    return QualityVerdict(verdict, [check for _, check in results])


def _normalised(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At most about 512 pixels a side, by whole steps, so that the measures do not depend on the camera."""
    picture = Image.fromarray(image).convert("RGB")
    step = max(1, round(max(picture.size) / NORMAL_SIDE))
    return np.asarray(picture.reduce(step) if step > 1 else picture)


def _result(verdict: Verdict, name: CheckName, value: float, sentence: str) -> tuple[Verdict, Check]:
    return verdict, Check(name=name, ok=verdict == "good", value=round(value, 4), sentence=sentence)


def _size(width: int, height: int) -> tuple[Verdict, Check]:
    side = min(width, height)
    if side < SIDE_UNUSABLE:
        return _result("unusable", "size", side, "Too few pixels to see a cell: export at full resolution.")
    if side < SIDE_WARNING:
        return _result("warning", "size", side, "Few pixels: export at full resolution if you can.")
    return _result("good", "size", side, "Enough pixels.")


def _sharpness(luma: NDArray[np.float32]) -> tuple[Verdict, Check]:
    """Variance of the Laplacian over variance of the brightness: fine detail against all detail.

    Dividing makes pale and dark smears comparable.
    """
    if min(luma.shape) < 3:
        return _result("unusable", "sharpness", 0.0, "Out of focus: take the picture again.")
    centre = luma[1:-1, 1:-1]
    laplacian = 4 * centre - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    value = float(laplacian.var() / (luma.var() + 1.0))
    if value < SHARPNESS_UNUSABLE:
        return _result("unusable", "sharpness", value, "Out of focus: take the picture again.")
    if value < SHARPNESS_WARNING:
        return _result("warning", "sharpness", value, "Soft: check the focus and take it again if you can.")
    return _result("good", "sharpness", value, "Sharp.")


def _exposure(luma: NDArray[np.float32]) -> tuple[Verdict, Check]:
    """The white point (95th percentile of brightness) shows darkness, the spread an empty or burnt-out field."""
    white_point, spread, mean = float(np.percentile(luma, 95)), float(luma.std()), float(luma.mean())
    if white_point < WHITE_POINT_UNUSABLE:
        return _result("unusable", "exposure", mean, "Almost black: turn up the lamp or the exposure.")
    if spread < CONTRAST_UNUSABLE:
        return _result("unusable", "exposure", mean, "Nearly empty: nothing stands out. Choose another field.")
    if white_point < WHITE_POINT_WARNING:
        return _result("warning", "exposure", mean, "Dark: turn up the lamp or the exposure.")
    if mean > MEAN_WARNING:
        return _result("warning", "exposure", mean, "Overexposed: turn down the lamp or the exposure.")
    return _result("good", "exposure", mean, "Well exposed.")


def _stain(colours: NDArray[np.float32]) -> tuple[Verdict, Check]:
    """The share of pixels as purple as a stained nucleus. A field without any is only doubtful: it may be true."""
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    purple = (blue - green > 25) & (green < 0.8 * np.maximum(red, blue)) & (blue > 0.8 * red)
    share = float(purple.mean())
    if share < STAIN_WARNING:
        return _result("warning", "stain", share, "No stained nucleus found: check stain, colour and field.")
    return _result("good", "stain", share, "Stained nuclei present.")
