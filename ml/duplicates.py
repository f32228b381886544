"""Near duplicates by a 256-bit difference hash: two shots of one field must not sit on both sides of a split."""

from __future__ import annotations

import numpy as np
from PIL import Image

NEAR = 32
SIDE = 16


def dhash(picture: np.ndarray) -> np.ndarray:
    """256 bits as bool (256,): is each pixel of a 16 x 17 grey thumbnail brighter than its left neighbour."""
    thumbnail = Image.fromarray(picture).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.LANCZOS)
    grey = np.asarray(thumbnail, dtype=np.int16)
    return (grey[:, 1:] > grey[:, :-1]).ravel()


def distances(hashes: np.ndarray) -> np.ndarray:
    """Hamming distances (N, N) between rows of bool (N, 256)."""
    signs = hashes.astype(np.float32) * 2 - 1
    return ((hashes.shape[1] - signs @ signs.T) / 2).round().astype(np.int32)


def groups(hashes: np.ndarray, near: int = NEAR) -> np.ndarray:
    """Group number (N,) per picture: connected by a chain of pairs at most `near` bits apart."""
    parent = list(range(len(hashes)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in zip(*np.nonzero(np.triu(distances(hashes) <= near, k=1)), strict=True):
        parent[root(int(second))] = root(int(first))
    return np.array([root(index) for index in range(len(hashes))])
