"""Two shots of one field are found, two fields are not confused."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ml import duplicates, reference


def recompressed(picture: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream))


def hashes(pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack([duplicates.dhash(picture) for picture in pictures])


def test_the_hash_has_256_bits() -> None:
    assert duplicates.dhash(reference.draw_smear(0)).shape == (256,)


def test_recompression_and_brightness_stay_near() -> None:
    picture = reference.draw_smear(1)
    brighter = np.clip(picture * 1.05, 0, 255).astype(np.uint8)
    found = duplicates.distances(hashes([picture, recompressed(picture), brighter]))
    assert found[0, 1:].max() <= duplicates.NEAR


def test_other_fields_are_far() -> None:
    found = duplicates.distances(hashes([reference.draw_smear(seed) for seed in range(6)]))
    assert found[~np.eye(6, dtype=bool)].min() > duplicates.NEAR


def test_distances_count_differing_bits() -> None:
    bits = np.zeros((3, 256), dtype=bool)
    bits[1, :5] = True
    bits[2] = True
    assert duplicates.distances(bits).tolist() == [[0, 5, 256], [5, 0, 251], [256, 251, 0]]


def test_groups_join_chains() -> None:
    bits = np.zeros((4, 256), dtype=bool)
    bits[1, :30] = True
    bits[2, :60] = True
    bits[3] = True
    found = duplicates.groups(bits)
    assert found[0] == found[1] == found[2] != found[3]
