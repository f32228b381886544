"""Smear-like pictures drawn by code: for checking an engine against another one, never for a claim about smears."""

from __future__ import annotations

import cv2
import numpy as np

GLASS = (238, 236, 228)
ERYTHROCYTE = (205, 196, 206)
CYTOPLASM = (178, 158, 212)
NUCLEUS = (98, 56, 152)


def draw_smear(seed: int, size: int = 224, nuclei: int = 8, erythrocytes: int = 60) -> np.ndarray:
    """uint8 RGB (size, size, 3): pale discs, some cells with a dark nucleus, sensor noise; the same for each seed."""
    generator = np.random.default_rng(seed)
    scale = size / 224
    picture = np.full((size, size, 3), GLASS, dtype=np.uint8)
    for _ in range(erythrocytes):
        centre = tuple(int(value) for value in generator.uniform(0, size, 2))
        cv2.circle(picture, centre, max(1, round(7 * scale)), ERYTHROCYTE, -1, cv2.LINE_AA)
        cv2.circle(picture, centre, max(1, round(3 * scale)), GLASS, -1, cv2.LINE_AA)
    for _ in range(nuclei):
        centre = tuple(int(value) for value in generator.uniform(size * 0.1, size * 0.9, 2))
        radius = generator.uniform(9, 13) * scale
        cv2.circle(picture, centre, max(2, round(radius * 1.25)), CYTOPLASM, -1, cv2.LINE_AA)
        cv2.circle(picture, centre, max(1, round(radius)), NUCLEUS, -1, cv2.LINE_AA)
    noisy = picture.astype(np.float32) + generator.normal(0, 4, picture.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
