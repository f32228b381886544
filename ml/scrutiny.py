"""What a report holds beside the figures of its protocols: refusals, robustness, cost, and for fields what the network
might be looking at instead of cells, what it takes for familiar, and whether its heat maps mark the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ml import audit, explain, familiarity, model, preprocessing, stress
from ml.evaluation import Answers
from ml.predictor import Predictor

DELETED = 60


@dataclass(frozen=True)
class Looked:
    """How a predictor's answers came about: `pictures` as delivered in the order of `answers`, their `distances` (N,)
    from what was learned from, and how many pictures a second it took."""

    predictor: Predictor
    pictures: list[np.ndarray]
    answers: Answers
    distances: np.ndarray
    images_per_second: float


def scrutinised(
    looked: Looked, every: Sequence[np.ndarray], main: dict[str, Any], root: Path, probes: int
) -> dict[str, Any]:
    """The parts of a report by name. `every`: the pictures of which none should be refused; `main`: the protocol whose
    balanced accuracy shortcuts are held against; `root`: the folder of the classes; `probes`: how many pictures each
    test of robustness takes."""
    predictor, pictures = looked.predictor, looked.pictures
    limits = predictor.manifest.refusal.thresholds
    found: dict[str, Any] = {
        "refusal": {
            "false_refusals": stress.false_refusals(list(every), limits),
            **stress.refusals_of_spoilt(pictures, limits),
        },
        "robustness": stress.robustness_of(predictor, pictures, looked.answers, probes),
        "cost": cost(looked),
    }
    if predictor.manifest.input == "field":
        found["shortcuts"] = shortcuts(root, main)
        found["out_of_distribution"] = strangers(looked, root.parent)
        found["heat_map_deletion"] = explain.deletion_test(predictor, pictures[:: max(1, len(pictures) // DELETED)])
    return found


def cost(looked: Looked) -> dict[str, Any]:
    return {
        "parameters": model.parameter_count(looked.predictor.net),
        "multiply_adds": multiply_adds(looked.predictor, looked.pictures[0]),
        "images_per_second": round(looked.images_per_second, 1),
        "backend": looked.predictor.backend,
        "threads": torch.get_num_threads(),
    }


@torch.inference_mode()
def multiply_adds(predictor: Predictor, picture: np.ndarray) -> int:
    """Of the network for one picture as it is shown."""
    shown = torch.from_numpy(preprocessing.apply(picture, predictor.steps))[None].to(predictor.engine.device)
    with FlopCounterMode(display=False) as counted:
        predictor.net(shown)
    return counted.get_total_flops() // 2


def strangers(looked: Looked, neighbours: Path) -> dict[str, dict[str, float]]:
    """How well the familiarity of held-out pictures is told from that of pictures from elsewhere."""
    predictor = looked.predictor
    return {
        name: familiarity.told_apart(looked.distances, predictor.distances(predictor.outputs(made)))
        for name, made in stress.outsiders(looked.pictures, neighbours).items()
    }


def shortcuts(root: Path, main: dict[str, Any]) -> dict[str, Any]:
    """What numbers that say nothing about cells would score, beside the model's own balanced accuracy."""
    probes = audit.probes(audit.read(root))
    rows = {name: {k: v for k, v in row.items() if not k.startswith("flagged")} for name, row in probes.items()}
    value = main["overall"]["balanced_accuracy"]["value"]
    return {"the model": {"preprocessed": value, "chance": 1 / len(main["classes"])}, **rows}
