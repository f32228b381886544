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


def hottest(heat: np.ndarray, size: int, seen: float) -> np.ndarray:
    """Bool (size, size): where in a square picture the map (h, w) is hottest, a SHARE of the middle square, `seen`
    of the picture's side, that the network was shown."""
    side = round(size * seen)
    wide = cv2.resize(heat, (side, side), interpolation=cv2.INTER_CUBIC)
    chosen = np.zeros((size, size), dtype=bool)
    first = (size - side) // 2
    chosen[first : first + side, first : first + side] = wide >= np.quantile(wide, 1 - SHARE)
    return chosen


def covered(picture: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The picture with the chosen pixels (H, W) painted in the colour of its glass."""
    painted = picture.copy()
    painted[chosen] = np.rint(preprocessing.background_colour(picture)).astype(np.uint8)
    return painted


def deletion_test(predictor: Predictor, pictures: Sequence[np.ndarray], seed: int = 0) -> dict[str, Any]:
    """Mean confidence in the predicted class before and after covering a fifth of what is seen of each square picture.

    Once where the heat map is hottest, once as many pixels in blocks drawn at random. A map that marks the evidence
    costs more confidence (Petsiuk et al., BMVC 2018).
    """
    before = predictor.probabilities(pictures)
    said, rows = before.argmax(1), np.arange(len(before))
    maps = heat_maps(predictor, pictures, [int(index) for index in said])
    generator = np.random.default_rng(seed)
    seen = preprocessing.share_seen(predictor.steps)
    hot: list[np.ndarray] = []
    drawn: list[np.ndarray] = []
    for picture, heat in zip(pictures, maps, strict=True):
        by_chance = generator.random(heat.shape).astype(np.float32)
        for kept, values in ((hot, heat), (drawn, by_chance)):
            kept.append(covered(picture, hottest(values, picture.shape[0], seen)))
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
