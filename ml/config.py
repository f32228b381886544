"""How a training run goes: everything that changes its result, in one frozen record per task."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml.augmentation import Augmentation
from ml.preprocessing import Step

NORMALISE = Step("normalise", parameters={"mean": [0.8, 0.8, 0.8], "deviation": [0.2, 0.2, 0.2]})

CELL_STEPS = (
    Step("resize", parameters={"size": 80}),
    Step("scale_bar_cover", enabled=False),
    Step("background_neutralisation"),
    Step("stain_normalisation", enabled=False),
    Step("denoise", enabled=False),
    Step("contrast", enabled=False),
    NORMALISE,
)
FIELD_STEPS = (
    Step("resize", parameters={"size": 224}),
    Step("background_neutralisation"),
    Step("scale_bar_cover"),
    Step("stain_normalisation", enabled=False),
    Step("denoise", enabled=False),
    Step("contrast", enabled=False),
    NORMALISE,
)


class ConfigError(ValueError):
    """A setting does not exist or has the wrong kind of value."""


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one run.

    `protocol` is "contiguous" (blocks of file numbers with an embargo), "grouped" (patients, near duplicates),
    "named" (pictures whose names match `held_pattern`: listed patients, or a whole source), "random" (picture by
    picture, for comparison with studies that split so) or "whole" (nothing is held out).
    `samples` is how many draws make an epoch (0: as many as training images); `balance` 0 draws images evenly, 1
    draws classes evenly. `frozen` modules keep the weights and BatchNorm statistics they start from.
    `learning_rate` is the peak of a warm-up + cosine schedule.
    """

    steps: tuple[Step, ...]
    augmentation: Augmentation
    epochs: int
    samples: int = 0
    batch: int = 32
    optimiser: str = "sgd"
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    warmup: float = 0.1
    balance: float = 0.5
    dropout: float = 0.0
    frozen: tuple[str, ...] = ()
    average_decay: float = 0.998
    protocol: str = "contiguous"
    held_start: float = 0.0
    held_share: float = 0.16
    held_pattern: str = ""
    evaluate_every: int = 1
    seed: int = 7
    threads: int = 2
    extra: dict[str, Any] = field(default_factory=dict)


# The AML patients that `cell-type` held out, so that a trunk from there has not seen them, and a third of all_idb2.
LINEAGE_HELD = r"Patient_(01|13|26|38|43|44|53|54|57|63|66|76)_|all_idb2/(ALL/Im0[0-3]|Healthy/Im1[3-6])"

DEFAULTS: dict[str, TrainConfig] = {
    "cell-type": TrainConfig(
        steps=CELL_STEPS,
        augmentation=Augmentation(crop=64),
        epochs=8,
        samples=13_000,
        batch=64,
        learning_rate=0.05,
        protocol="grouped",
        held_share=0.06,
    ),
    "lineage": TrainConfig(
        steps=CELL_STEPS,
        augmentation=Augmentation(crop=64),
        epochs=4,
        samples=3_000,
        batch=64,
        learning_rate=0.02,
        balance=0.8,
        frozen=("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"),
        protocol="named",
        held_pattern=LINEAGE_HELD,
    ),
    "b-all-stage": TrainConfig(
        steps=FIELD_STEPS,
        augmentation=Augmentation(
            crop=160,
            angle=20.0,
            scale_low=0.85,
            scale_high=1.2,
            stretch=0.12,
            stain_strength=0.25,
            stain_vector_noise=0.05,
            background_tint=0.1,
            gamma=0.2,
            saturation=0.3,
            grey_probability=0.1,
            blur_probability=0.15,
            noise=0.015,
        ),
        epochs=15,
        samples=640,
        batch=16,
        learning_rate=0.012,
        weight_decay=1e-3,
        warmup=0.05,
        balance=0.7,
    ),
}


def from_json(base: TrainConfig, path: Path) -> TrainConfig:
    """`base` with the file's settings put over it; nested settings of `augmentation` may be given alone."""
    try:
        given = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"cannot read the settings in {path}: {error}") from error
    return override(base, given)


def override(base: TrainConfig, given: dict[str, Any]) -> TrainConfig:
    changes = dict(given)
    if "augmentation" in changes:
        changes["augmentation"] = _replace(base.augmentation, changes["augmentation"])
    if "frozen" in changes:
        changes["frozen"] = tuple(changes["frozen"])
    if "steps" in changes:
        changes["steps"] = tuple(_replace(Step(""), step) for step in changes["steps"])
    return _replace(base, changes)


def _replace(record: Any, changes: dict[str, Any]) -> Any:
    known = {item.name for item in dataclasses.fields(record)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise ConfigError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return dataclasses.replace(record, **changes)


def as_dict(config: TrainConfig) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(config)))
