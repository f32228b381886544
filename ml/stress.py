"""What shakes a released model and what it refuses: the same held-out pictures, changed or spoilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_sample_images

from ml import decode, evaluation, metrics, quality, robustness
from ml.predictor import BATCH, Predictor

TOLD = {"half magnification, told": 0.5, "double magnification, told": 2.0}


def false_refusals(pictures: list[np.ndarray], thresholds: Mapping[str, float]) -> float:
    """Share (0..1) of usable pictures that would be refused."""
    return float(np.mean([bool(quality.reasons(quality.measure(picture), thresholds)) for picture in pictures]))


def refusals_of_spoilt(pictures: list[np.ndarray], thresholds: Mapping[str, float]) -> dict[str, float]:
    """Share refused (0..1) of the same pictures made unusable, and of pictures that never were smears."""
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, picture.shape, dtype=np.uint8) for picture in pictures[:50]]
    blank = [np.full_like(picture, 40 + 4 * index) for index, picture in enumerate(pictures[:50])]
    cases = {
        "blurred (sigma 3 px at 224)": [robustness.blur(picture, 3.0) for picture in pictures],
        "blurred (sigma 5 px at 224)": [robustness.blur(picture, 5.0) for picture in pictures],
        "evenly filled": blank,
        "random noise": noise,
        "colours turned (green and blue swapped)": [picture[..., [0, 2, 1]] for picture in pictures],
        "without colour": [robustness.grey(picture) for picture in pictures],
    }
    return {name: false_refusals(made, thresholds) for name, made in cases.items()}


def outsiders(pictures: Sequence[np.ndarray], neighbours: Path, count: int = 60) -> dict[str, list[np.ndarray]]:
    """Pictures that are none of the model's business: spoilt smears, photographs, cells of `neighbours`."""
    own = pictures[:: max(1, len(pictures) // count)][:count]
    photographs = list(load_sample_images().images)
    generator = np.random.default_rng(0)
    found = {
        "blurred": [robustness.blur(picture, 3.0) for picture in own],
        "evenly filled": [np.full_like(picture, 40 + 3 * index) for index, picture in enumerate(own)],
        "random noise": [generator.integers(0, 256, picture.shape, dtype=np.uint8) for picture in own],
        "other stain (green and blue swapped)": [picture[..., [0, 2, 1]] for picture in own],
        "without colour": [robustness.grey(picture) for picture in own],
        "photographs": [cut(photographs[index % len(photographs)], generator) for index in range(len(own))],
    }
    for name in ("pbc", "deepapl", "all_idb2"):
        files = sorted((neighbours / name).rglob("*.jpg"))
        if files:
            drawn = generator.permutation(len(files))[: len(own)]
            found[f"single cells ({name})"] = [decode.decode(files[index].read_bytes()) for index in drawn]
    return found


def cut(photograph: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A square of 224 pixels from anywhere in a larger picture."""
    top, left = (int(generator.integers(0, length - 224)) for length in photograph.shape[:2])
    return np.ascontiguousarray(photograph[top : top + 224, left : left + 224])


def robustness_of(
    predictor: Predictor, pictures: list[np.ndarray], answers: evaluation.Answers, probes: int
) -> dict[str, Any]:
    """Accuracy, macro-F1 and leukaemia figures of `probes` changed held-out pictures, refusing nothing.

    Every k-th picture is taken, so that all classes and sessions are there; empty when `probes` is 0.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(probes, len(pictures))).round().astype(int))
    pictures, labels = [pictures[index] for index in chosen], answers.labels[chosen]
    rows: dict[str, Any] = {}
    if not pictures:
        return rows
    for name, probabilities in {**changed(predictor, pictures), **at_known_scale(predictor, pictures)}.items():
        figures = metrics.summary(labels, probabilities)
        binary = metrics.leukaemia(labels, probabilities, answers.malignant)
        rows[name] = {
            "images": len(labels),
            "accuracy": figures["accuracy"],
            "macro_f1": figures["macro_f1"],
            **{f"leukaemia_{key}": evaluation.finite(value) for key, value in binary.items()},
        }
    return rows


def changed(predictor: Predictor, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Probabilities (N, classes) of the pictures changed one way at a time."""
    changes = {"unchanged": lambda picture: picture, **robustness.CHANGES}
    return {
        name: predictor.probabilities([change(picture) for picture in pictures]) for name, change in changes.items()
    }


def at_known_scale(predictor: Predictor, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The same at other magnifications that the model is told of; none where it does not know its own scale."""
    trained, side = predictor.manifest.microns_per_pixel, predictor.side
    if trained is None or side is None:
        return {}
    rows = {}
    for name, factor in TOLD.items():
        magnified = [robustness.zoom(picture, factor) for picture in pictures]
        own = [trained / factor * side / min(picture.shape[:2]) for picture in pictures]
        views = [predictor.views(picture, scale) for picture, scale in zip(magnified, own, strict=True)]
        rows[name], _ = predictor.pooled(views, BATCH)
    return rows
