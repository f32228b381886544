"""Where in a picture the evidence for a class lies: class activation maps.

For a network that averages its last feature maps and applies one linear layer, the class score is exactly the mean of
this map (Zhou et al., CVPR 2016): nothing is approximated, and no gradient is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from ml import model, preprocessing
from ml.predictor import Predictor

SHARE = 0.2
Maps = np.ndarray


@torch.inference_mode()
def heat_maps(predictor: Predictor, pictures: Sequence[np.ndarray], classes: Sequence[int]) -> Maps:
    """Evidence (N, h, w) for one class of each picture, on the grid of the last feature maps; higher is more."""
    found: list[torch.Tensor] = []
    hook = predictor.net.get_submodule("layer4").register_forward_hook(
        lambda _module, _inputs, output: found.append(output.float())
    )
    try:
        prepared = np.stack([preprocessing.apply(picture, predictor.steps) for picture in pictures])
        predictor.net(torch.from_numpy(prepared).to(predictor.device).contiguous(memory_format=torch.channels_last))
    finally:
        hook.remove()
    weight = model.last_layer(predictor.net).weight[torch.as_tensor(list(classes))]
    return torch.einsum("nchw,nc->nhw", found[0], weight.float()).cpu().numpy()


def on_picture(heat: np.ndarray, size: int) -> np.ndarray:
    """A map (h, w) stretched to (size, size) and to 0..1, to be laid over the prepared picture."""
    wide = cv2.resize(heat, (size, size), interpolation=cv2.INTER_CUBIC)
    low, high = float(wide.min()), float(wide.max())
    return (wide - low) / max(high - low, 1e-9)


def covered(picture: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The picture with the chosen pixels (H, W) painted in the colour of its glass."""
    painted = picture.copy()
    painted[chosen] = np.rint(preprocessing.background_colour(picture)).astype(np.uint8)
    return painted


def deletion_test(predictor: Predictor, pictures: Sequence[np.ndarray], seed: int = 0) -> dict[str, Any]:
    """Mean confidence in the predicted class before and after covering a fifth of each square picture.

    Once where the heat map is hottest, once as many pixels in blocks drawn at random. A map that marks the evidence
    costs more confidence (Petsiuk et al., BMVC 2018).
    """
    before = predictor.probabilities(pictures)
    said, rows = before.argmax(1), np.arange(len(before))
    maps = heat_maps(predictor, pictures, [int(index) for index in said])
    generator = np.random.default_rng(seed)
    hot: list[np.ndarray] = []
    drawn: list[np.ndarray] = []
    for picture, heat in zip(pictures, maps, strict=True):
        size = picture.shape[0]
        by_chance = generator.random(heat.shape).astype(np.float32)
        for kept, values in ((hot, heat), (drawn, by_chance)):
            wide = on_picture(values, size)
            kept.append(covered(picture, wide >= np.quantile(wide, 1 - SHARE)))
    return {
        "untouched": {"images": len(pictures), "confidence": float(before[rows, said].mean())},
        "hottest fifth covered": {
            "images": len(pictures),
            "confidence": float(predictor.probabilities(hot)[rows, said].mean()),
        },
        "random fifth covered": {
            "images": len(pictures),
            "confidence": float(predictor.probabilities(drawn)[rows, said].mean()),
        },
    }
