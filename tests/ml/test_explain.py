"""The heat map adds up to the score it explains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml import explain, model, reference
from ml.predictor import EAGER, Predictor


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [reference.draw_smear(seed) for seed in range(3)]


def test_its_mean_and_the_bias_are_the_logit(released: Path, pictures: list[np.ndarray]) -> None:
    predictor = Predictor.load(released)
    classes = [0, 1, 2]
    maps = explain.heat_maps(predictor, pictures, classes)
    bias = model.last_layer(predictor.net).bias.detach().numpy()[classes]
    logits = predictor.logits(pictures)[np.arange(3), classes]
    tolerance = 1e-3 if predictor.backend == EAGER else 0.05 * np.abs(logits).max()
    assert maps.mean((1, 2)) + bias == pytest.approx(logits, abs=float(tolerance))


def test_it_is_stretched_over_what_the_network_sees() -> None:
    heat = np.random.default_rng(0).random((5, 5)).astype(np.float32)
    heat[4, 0] = 9.0
    chosen = explain.hottest(heat, 224, 160 / 224)
    rows, columns = np.nonzero(chosen)
    assert chosen.sum() == pytest.approx(160 * 160 / 5, rel=0.01)
    assert (rows.min() >= 32, rows.max() <= 191, columns.min() >= 32, columns.max() <= 191) == (True,) * 4
    assert chosen[190, 33], "the hottest corner is the middle square's, not the picture's"


def test_covering_paints_the_chosen_pixels_alone(pictures: list[np.ndarray]) -> None:
    chosen = np.zeros((224, 224), dtype=bool)
    chosen[50:60, 50:60] = True
    painted = explain.covered(pictures[0], chosen)
    assert len(np.unique(painted[chosen], axis=0)) == 1
    assert np.array_equal(painted[~chosen], pictures[0][~chosen])


def test_the_deletion_test_covers_as_much_at_random_as_where_it_is_hot(
    released: Path, pictures: list[np.ndarray]
) -> None:
    rows = explain.deletion_test(Predictor.load(released), pictures)
    assert list(rows) == ["untouched", "hottest fifth covered", "random fifth covered"]
    assert all(0 < row["confidence"] <= 1 for row in rows.values())
