"""The laboratory changes, the picture's content does not; and the same generator gives the same picture."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ml import reference
from ml.augmentation import Augmentation, gaussian_blur
from ml.train import to_input

STILL = Augmentation(
    crop=224,
    angle=0.0,
    scale_low=1.0,
    scale_high=1.0,
    stretch=0.0,
    stain_strength=0.0,
    stain_vector_noise=0.0,
    background_tint=0.0,
    gamma=0.0,
    saturation=0.0,
    brightness=0.0,
    grey_probability=0.0,
    blur_probability=0.0,
    noise=0.0,
)


def smears(count: int = 4) -> torch.Tensor:
    import numpy as np

    return to_input(np.stack([reference.draw_smear(seed) for seed in range(count)]))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_all_strengths_at_nought_only_turn_and_mirror() -> None:
    batch = smears()
    for before, after in zip(batch, STILL(batch, generator()), strict=True):
        versions = [torch.rot90(side, turns, (1, 2)) for side in (before, before.flip(2)) for turns in range(4)]
        assert min(float((after - version).abs().max()) for version in versions) < 1e-3


def test_every_turn_and_mirror_image_is_drawn() -> None:
    batch = smears(1)[:, :, :64, :64].repeat(200, 1, 1, 1)
    how = dataclasses.replace(STILL, crop=64)
    seen = {tuple((view[0, ::9, ::9] * 50).round().flatten().tolist()) for view in how(batch, generator())}
    assert len(seen) == 8


def test_the_crop_has_the_size_asked_for_and_full_augmentation_stays_in_range() -> None:
    made = Augmentation(crop=160)(smears(), generator())
    assert made.shape == (4, 3, 160, 160)
    assert torch.isfinite(made).all()
    assert float(made.min()) >= 0.0
    assert float(made.max()) <= 1.0


def test_the_same_generator_gives_the_same_pictures() -> None:
    how, batch = Augmentation(crop=128), smears()
    assert torch.equal(how(batch, generator(3)), how(batch, generator(3)))
    assert not torch.equal(how(batch, generator(3)), how(batch, generator(4)))


def test_each_picture_of_a_batch_is_changed_its_own_way() -> None:
    made = Augmentation(crop=128)(smears(1).repeat(3, 1, 1, 1), generator())
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[1], made[2])


@pytest.mark.parametrize(
    "change",
    [
        {"stain_strength": 0.4},
        {"stain_vector_noise": 0.1},
        {"background_tint": 0.2},
        {"gamma": 0.3},
        {"saturation": 0.5},
        {"brightness": 0.2},
        {"grey_probability": 1.0},
        {"noise": 0.05},
        {"blur_probability": 1.0},
    ],
)
def test_each_named_strength_changes_the_picture(change: dict[str, float]) -> None:
    batch = smears(2)
    plain = STILL(batch, generator(1))
    changed = dataclasses.replace(STILL, **change)(batch, generator(1))
    assert float((plain - changed).abs().mean()) > 0.001


def test_grey_pictures_have_equal_channels() -> None:
    made = dataclasses.replace(STILL, grey_probability=1.0)(smears(), generator())
    assert float((made[:, 0] - made[:, 2]).abs().max()) < 1e-5


def test_zoom_changes_the_size_of_cells() -> None:
    disc = torch.ones(1, 3, 100, 100)
    disc[:, :, 40:60, 40:60] = 0.0
    how = dataclasses.replace(STILL, crop=100, scale_low=1.5, scale_high=1.5)
    assert float((how(disc, generator()) < 0.5).float().sum() / 3) == pytest.approx(400 * 1.5**2, rel=0.1)


def test_stains_change_the_tissue_more_than_the_glass() -> None:
    batch = torch.full((64, 3, 8, 8), 0.95)
    batch[:, :, :4] = torch.tensor([0.4, 0.25, 0.6]).view(1, 3, 1, 1)
    how = dataclasses.replace(STILL, crop=8, stain_strength=0.4, stain_vector_noise=0.1)
    made = how(batch, generator()).flatten(2)
    glass, tissue = made.amax(2), made.amin(2)
    assert float(glass.std(0).mean()) < 0.25 * float(tissue.std(0).mean())


def test_blur_keeps_the_mean_and_lowers_the_contrast() -> None:
    batch = torch.rand(2, 3, 64, 64, generator=generator())
    blurred = gaussian_blur(batch, 1.5)
    assert float(blurred.mean()) == pytest.approx(float(batch.mean()), abs=0.01)
    assert float(blurred.std()) < 0.5 * float(batch.std())
