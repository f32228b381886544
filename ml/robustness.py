"""Named, repeatable changes to a picture: does the answer survive another camera, lamp, focus or file format?"""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from ml import preprocessing

Picture = np.ndarray


def jpeg(picture: Picture, level: int) -> Picture:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=level)
    return np.asarray(Image.open(stream).convert("RGB"))


def gain(picture: Picture, factors: tuple[float, float, float]) -> Picture:
    """Multiply red, green and blue, clipped as a camera would."""
    return np.clip(np.rint(picture * np.asarray(factors, np.float32)), 0, 255).astype(np.uint8)


def grey(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))


def zoom(picture: Picture, factor: float) -> Picture:
    """`factor` > 1: the middle enlarged. < 1: smaller, tiled by mirroring, as if a wider field had been taken."""
    height, width = picture.shape[:2]
    if factor >= 1:
        side_y, side_x = round(height / factor), round(width / factor)
        top, left = (height - side_y) // 2, (width - side_x) // 2
        return cv2.resize(picture[top : top + side_y, left : left + side_x], (width, height))
    small = cv2.resize(picture, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    pad_y, pad_x = height - small.shape[0], width - small.shape[1]
    edges = (pad_y // 2, pad_y - pad_y // 2, pad_x // 2, pad_x - pad_x // 2)
    return cv2.copyMakeBorder(small, *edges, cv2.BORDER_REFLECT)


def stain_shift(picture: Picture, red: float, green: float, blue: float) -> Picture:
    """Multiply the optical density of each channel: a redder, bluer or heavier stain on the same glass."""
    density = -np.log(np.maximum(picture, 1).astype(np.float32) / 255.0)
    shifted = np.exp(-density * np.array([red, green, blue], dtype=np.float32))
    return np.clip(np.rint(shifted * 255.0), 0, 255).astype(np.uint8)


def blur(picture: Picture, sigma: float) -> Picture:
    return cv2.GaussianBlur(picture, (0, 0), sigma)


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "corner covered": preprocessing.scale_bar_cover,
    "background neutralised": preprocessing.background_neutralisation,
    "grey": grey,
    "jpeg 90": lambda picture: jpeg(picture, 90),
    "jpeg 60": lambda picture: jpeg(picture, 60),
    "jpeg 30": lambda picture: jpeg(picture, 30),
    "blur 0.7 px": lambda picture: blur(picture, 0.7),
    "blur 1.5 px": lambda picture: blur(picture, 1.5),
    "darker": lambda picture: gain(picture, (0.75, 0.75, 0.75)),
    "brighter": lambda picture: gain(picture, (1.15, 1.15, 1.15)),
    "yellow cast": lambda picture: gain(picture, (1.0, 0.93, 0.75)),
    "blue cast": lambda picture: gain(picture, (0.8, 0.9, 1.0)),
    "heavier stain": lambda picture: stain_shift(picture, 1.35, 1.35, 1.35),
    "redder stain": lambda picture: stain_shift(picture, 0.75, 1.1, 1.1),
    "bluer stain": lambda picture: stain_shift(picture, 1.3, 1.0, 0.75),
    "half magnification": lambda picture: zoom(picture, 0.5),
    "three quarters magnification": lambda picture: zoom(picture, 0.75),
    "1.5 times magnification": lambda picture: zoom(picture, 1.5),
    "double magnification": lambda picture: zoom(picture, 2.0),
}
