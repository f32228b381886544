"""What is like the pictures learned from is near, what is not is far."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ml import familiarity


@pytest.fixture
def features() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 400)
    mixing = generator.normal(0, 1, (60, 60)) * np.linspace(3, 0.1, 60)
    centres = generator.normal(0, 4, (3, 60))
    return generator.normal(0, 1, (1200, 60)) @ mixing.T + centres[labels], labels


def test_new_pictures_of_the_known_kind_lie_at_about_one(features: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = features
    found = familiarity.fit(values[::2], labels[::2], dimensions=40)
    distances = found.distances(values[1::2])
    assert np.median(distances) == pytest.approx(1.0, abs=0.25)


def test_a_foreign_picture_is_far_even_when_it_lies_between_the_classes(
    features: tuple[np.ndarray, np.ndarray],
) -> None:
    values, labels = features
    found = familiarity.fit(values, labels, dimensions=60)
    near = np.quantile(found.distances(values), 0.99)
    foreign = values.mean(0) + np.random.default_rng(1).normal(0, values.std(), (50, 60))
    assert (found.distances(foreign) > near).mean() > 0.9


def test_it_survives_being_written_into_the_weights(features: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = features
    found = familiarity.fit(values, labels, dimensions=16)
    again = familiarity.Familiarity.of({**found.state, "conv1.weight": torch.zeros(1)})
    assert again is not None
    assert torch.equal(again.means, found.means)
    assert familiarity.Familiarity.of({"conv1.weight": torch.zeros(1)}) is None
