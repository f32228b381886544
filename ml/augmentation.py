"""Random changes of a training batch: geometry, stain, camera, optics.

Everything works on float tensors (N, 3, H, W) in 0..1 and draws one set of numbers per image from the given
generator, so an epoch is reproducible. Stain changes happen in optical density, where stains add up (Ruifrok and
Johnston 2001; Tellez et al., IEEE TMI 2018): the laboratory changes, the cell does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FLOOR = 1.0 / 255.0


@dataclass(frozen=True)
class Augmentation:
    """Strengths; every one may be 0. Angles in degrees, scales as factors, probabilities in 0..1."""

    crop: int
    angle: float = 180.0
    scale_low: float = 0.8
    scale_high: float = 1.25
    stretch: float = 0.1
    stain_strength: float = 0.35
    stain_vector_noise: float = 0.08
    background_tint: float = 0.12
    gamma: float = 0.25
    saturation: float = 0.4
    brightness: float = 0.12
    grey_probability: float = 0.15
    blur_probability: float = 0.2
    blur_sigma: float = 1.0
    noise: float = 0.02

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        batch = warp(batch, self, generator)
        batch = stain(batch, self, generator)
        batch = camera(batch, self, generator)
        return optics(batch, self, generator)


def uniform(count: int, low: float, high: float, generator: torch.Generator, width: int = 1) -> Tensor:
    return torch.rand(count, width, generator=generator) * (high - low) + low


def chance(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Boolean (N, 1, 1, 1): which images take part."""
    return (torch.rand(count, generator=generator) < probability).view(-1, 1, 1, 1)


def warp(batch: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """One resampling for turn, mirror, zoom and crop, so the picture is interpolated only once.

    Half the images turn by quarter turns only, which keeps their pixels sharp; scale > 1 enlarges the cells.
    `stretch` (log of the aspect) undoes what squeezing a rectangular sensor into a square did to the cells.
    The outside of the picture is white, which is what neutralised background is.
    """
    count, _, height, width = batch.shape
    free = uniform(count, -how.angle, how.angle, generator)[:, 0]
    quarter = torch.randint(0, 4, (count,), generator=generator) * 90.0
    turn = torch.where(torch.rand(count, generator=generator) < 0.5, quarter, free) * (math.pi / 180.0)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    logs = uniform(count, math.log(how.scale_low), math.log(how.scale_high), generator)[:, 0]
    zoom = torch.exp(logs)
    stretch = torch.exp(uniform(count, -how.stretch, how.stretch, generator)[:, 0])
    reach_x, reach_y = how.crop / (width * zoom) * stretch, how.crop / (height * zoom) / stretch
    room_x, room_y = (1 - reach_x).clamp(min=0), (1 - reach_y).clamp(min=0)
    shift_x = uniform(count, -1, 1, generator)[:, 0] * room_x
    shift_y = uniform(count, -1, 1, generator)[:, 0] * room_y
    cosine, sine = torch.cos(turn), torch.sin(turn)
    theta = torch.stack(
        [
            torch.stack([cosine * reach_x * mirror, -sine * reach_x, shift_x], dim=1),
            torch.stack([sine * reach_y * mirror, cosine * reach_y, shift_y], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [count, 3, how.crop, how.crop], align_corners=False)
    return 1.0 - F.grid_sample(1.0 - batch, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


STAINS = torch.tensor(
    [
        [0.650, 0.704, 0.286],  # haematoxylin-like: azure in nuclei
        [0.072, 0.990, 0.105],  # eosin
        [0.268, 0.570, 0.776],  # the rest, completing the basis
    ]
)


def stain(batch: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """More or less of each stain, stains of another hue, and a tinted light source."""
    if how.stain_strength == 0 and how.stain_vector_noise == 0 and how.background_tint == 0:
        return batch
    count, _, height, width = batch.shape
    basis = F.normalize(STAINS, dim=1)
    low, high = 1.0 / (1.0 + how.stain_strength), 1.0 + how.stain_strength
    amount = torch.exp(uniform(count, math.log(low), math.log(high), generator, 3))
    overall = torch.exp(uniform(count, math.log(low), math.log(high), generator))
    jitter = torch.randn(count, 3, 3, generator=generator) * how.stain_vector_noise
    target = F.normalize((basis + jitter).clamp(min=0.02), dim=2)
    mixing = torch.linalg.inv(basis) @ torch.diag_embed(amount * overall) @ target
    density = -torch.log(batch.clamp(min=FLOOR)).flatten(2)
    tint = uniform(count, 0.0, how.background_tint, generator, 3) * uniform(count, 0.0, 1.0, generator)
    density = mixing.transpose(1, 2) @ density + tint.unsqueeze(2)
    return torch.exp(-density).clamp(0, 1).view(count, 3, height, width)


def camera(batch: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Gamma, brightness, saturation, and sometimes no colour at all."""
    count = len(batch)
    gamma = torch.exp(uniform(count, -how.gamma, how.gamma, generator)).view(-1, 1, 1, 1)
    gain = uniform(count, 1 - how.brightness, 1 + how.brightness / 2, generator).view(-1, 1, 1, 1)
    keep = uniform(count, 1 - how.saturation, 1 + how.saturation, generator).view(-1, 1, 1, 1)
    keep = torch.where(chance(count, how.grey_probability, generator), torch.zeros(()), keep)
    batch = batch.clamp(min=FLOOR).pow(gamma) * gain
    grey = (batch * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (grey + (batch - grey) * keep).clamp(0, 1)


def optics(batch: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """A little defocus for some images and sensor noise for all."""
    count = len(batch)
    if how.blur_probability > 0:
        sigma = float(uniform(1, 0.3, max(how.blur_sigma, 0.31), generator))
        chosen = chance(count, how.blur_probability, generator)
        batch = torch.where(chosen, gaussian_blur(batch, sigma), batch)
    if how.noise > 0:
        strength = uniform(count, 0.0, how.noise, generator).view(-1, 1, 1, 1)
        batch = batch + torch.randn(batch.shape, generator=generator) * strength
    return batch.clamp(0, 1)


def gaussian_blur(batch: Tensor, sigma: float) -> Tensor:
    """Separable; sigma in pixels, edges replicated."""
    radius = max(1, math.ceil(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=batch.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    channels = batch.shape[1]
    row = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    padded = F.pad(batch, (radius, radius, radius, radius), mode="replicate")
    blurred = F.conv2d(padded, row, groups=channels)
    return F.conv2d(blurred, row.transpose(2, 3), groups=channels)
