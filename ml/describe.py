"""What a release's manifest says of itself, put together from runs, data and report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ml import config, sources
from ml.manifest import ClassInfo, FamiliarityInfo, Manifest, Metrics, SecondOpinionInfo, SourceInfo, StepInfo
from ml.preprocessing import Step
from ml.splits import Split
from ml.tasks import Task
from ml.trial import Trial

FOREIGN = 0.05
THRESHOLDS = {
    "field": {
        "min_side": 120.0,
        "min_light": 90.0,
        "min_stained": 0.02,
        "min_middle": 0.45,
        "min_colour": 0.003,
        "min_purple": 0.85,
        "min_sharpness": 0.006,
    },
    "single_cell": {
        "min_side": 32.0,
        "min_light": 90.0,
        "min_stained": 0.02,
        "min_middle": 0.2,
        "min_colour": 0.003,
        "min_purple": 0.85,
        "min_sharpness": 0.0015,
    },
}


class ReleaseError(RuntimeError):
    """The run cannot be released; the message says why."""


def step_infos(settings: config.TrainConfig) -> list[StepInfo]:
    """The steps of training; the network is then shown a square as large as the crops it learned from."""
    steps = list(settings.steps)
    steps.insert(-1, Step("centre_crop", parameters={"size": settings.augmentation.crop}))
    return [StepInfo(name=s.name, version=s.version, enabled=s.enabled, parameters=dict(s.parameters)) for s in steps]


def class_infos(task: Task) -> list[ClassInfo]:
    return [
        ClassInfo(
            code=item.code,
            title=item.title,
            description=item.description,
            malignant=item.malignant,
            colour=item.colour,
        )
        for item in task.classes
    ]


def counts(task: Task, labels: np.ndarray, parts: Split) -> dict[str, dict[str, int]]:
    named = {"train": parts.train, "held_out": parts.held_out, "embargo": parts.dropped}
    return {
        part: {code: int((labels[positions] == index).sum()) for index, code in enumerate(task.codes)}
        for part, positions in named.items()
    }


def block(settings: config.TrainConfig) -> str:
    return f"{settings.held_start:.0%} to {settings.held_start + settings.held_share:.0%}"


BEHIND = (
    "37 numbers on its sides and all near duplicates of it (256-bit difference hash, distance at most 32) left out "
    "of training; identical files counted once."
)


OF_ITS_OWN = "Measured on a network of its own, which learned from the other pictures."


def split_name(settings: config.TrainConfig) -> str:
    """What the figures of a run are called that stand beside those of the release."""
    if settings.protocol != "named":
        return f"{settings.protocol}-split"
    return f"without-{re.sub(r'[^A-Za-z0-9_]+', '-', settings.held_pattern).strip('-')}"


def protocol_sentence(settings: config.TrainConfig) -> str:
    if settings.protocol == "contiguous":
        return f"Per class, one contiguous block of file numbers held out ({block(settings)} of the row), {BEHIND}"
    if settings.protocol == "random":
        return (
            f"{settings.held_share:.0%} of every class drawn picture by picture and held out, identical files counted "
            "once: fields of one slide lie on both sides, so this flatters."
        )
    if settings.protocol == "named":
        return (
            f"Held out: every picture whose name matches `{settings.held_pattern}`; what shares a patient with them "
            "left out of training."
        )
    if settings.protocol == "whole":
        return "Nothing held out: the figures are those of the folds."
    return f"Whole groups (patients, near duplicates) held out, at least {settings.held_share:.0%} of every class."


def folds_sentence(folds: Sequence[Trial]) -> str:
    blocks = ", ".join(block(trial.settings) for trial in folds)
    return (
        f"Cross-validation: {len(folds)} networks of one recipe, each with one contiguous block of file numbers per "
        f"class held out ({blocks} of the row), {BEHIND} Answers pooled."
    )


def source_infos(found: dict[str, int], fingerprint: str, role: str) -> list[SourceInfo]:
    """Raises ReleaseError for a data set whose reference and terms are not in `ml.sources`."""
    unknown = sorted(set(found) - sources.BY_NAME.keys())
    if unknown:
        raise ReleaseError(f"ml/sources.py does not say where {', '.join(unknown)} comes from and on what terms")
    return [
        SourceInfo.model_validate({**sources.BY_NAME[name], "role": role, "images": images, "sha256": fingerprint})
        for name, images in sorted(found.items())
    ]


def sources_of(trial: Trial) -> list[SourceInfo]:
    """The data sets that went in, those of runs before it too where it is a release."""
    if trial.before:
        return trial.before.data.sources
    record = trial.record()
    return source_infos(record["sources"], record["fingerprint"], "training")


def opinion_of(other: Manifest) -> SecondOpinionInfo:
    """How a manifest names the released single-cell model that gives second opinions."""
    return SecondOpinionInfo(task=other.task, version=other.version, weights_sha256=other.weights.sha256)


def familiar(near: np.ndarray, images: int) -> FamiliarityInfo:
    """The distance beyond which a picture counts as foreign: all but FOREIGN of the held-out ones lie within."""
    cut = round(float(np.quantile(near, 1 - FOREIGN)), 4)
    return FamiliarityInfo(
        threshold=cut, false_alarms=float((near > cut).mean()), measured_on=f"{images} held-out pictures"
    )


def facts_of_plan(planned: list[list[int]]) -> list[dict[str, int]]:
    """From which epoch on the schedule was laid out for how many."""
    return [{"from_epoch": start, "epochs": epochs} for start, epochs in planned]


def metrics_of(protocol: dict[str, Any]) -> Metrics:
    """The report's main figures of one protocol, as they stand there."""
    values = {name: row["value"] for name, row in protocol["overall"].items()}
    values.update({f"f1_{code}": row["f1"]["value"] for code, row in protocol["by_class"].items()})
    values["ece_after_temperature"] = protocol["calibration"]["after"]["ece_equal_width"]
    values["risk_at_90_percent_coverage"] = protocol["selective"]["risk_at"]["0.90"]
    return Metrics(name=protocol["name"], protocol=protocol["protocol"], images=protocol["images"], values=values)


def near_duplicate_groups(groups: np.ndarray) -> int:
    return int((np.bincount(groups) > 1).sum())
