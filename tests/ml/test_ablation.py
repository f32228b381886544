"""What a preprocessing step is worth, told by switching it."""

from __future__ import annotations

import numpy as np

from ml import ablation, config, splits


def test_every_step_but_the_indispensable_is_switched_once() -> None:
    steps = config.DEFAULTS["b-all-stage"].steps
    found = dict(ablation.variants(steps))
    assert found.pop("as released") == steps
    assert len(found) == len(steps) - 2
    assert "without background neutralisation" in found
    assert "with contrast" in found
    for changed in found.values():
        assert sum(old != new for old, new in zip(steps, changed, strict=True)) == 1


def test_a_feature_that_only_tells_neighbours_apart_helps_under_the_random_split_alone() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 300)
    slide = np.concatenate([np.arange(300) // 25, 100 + np.arange(300) // 25])
    codes = generator.normal(0, 1, (200, 40))
    values = codes[slide] + generator.normal(0, 0.1, (600, 40))
    names = [f"{label}/{number:03d}.jpg" for label in (0, 1) for number in range(300)]
    honest = [splits.contiguous(names, labels, np.arange(600), start=fold / 3, share=1 / 3) for fold in range(3)]
    flattering = [splits.random(labels, share=1 / 3, seed=seed) for seed in range(3)]
    assert ablation.scored(values, labels, flattering)["accuracy"] > 0.95
    assert ablation.scored(values, labels, honest)["accuracy"] < 0.75
