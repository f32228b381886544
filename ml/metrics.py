"""Figures of a classifier from probabilities and truth, in plain numpy.

Throughout: `labels` int (N,) class indices; `probabilities` float (N, C), rows summing to 1. Precision, recall and F1
are macro over the classes that occur unless said; accuracy is plain accuracy. A figure that is not defined (a class
without images) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def confusion(labels: Ints, guesses: Ints, classes: int) -> Ints:
    """Counts (C, C): rows are the truth, columns what was said."""
    flat = np.bincount(labels * classes + guesses, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def ratio(part: Floats | float, whole: Floats | float) -> Floats:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)


def per_class(table: Ints) -> dict[str, Floats]:
    """Precision, recall, specificity, NPV and F1 (C,) from a confusion matrix.

    As in scikit-learn with zero_division=0, precision and F1 of a class that is never said are 0; all figures of a
    class that never occurs are NaN.
    """
    hit = np.diag(table).astype(np.float64)
    actual, named, total = table.sum(1), table.sum(0), table.sum()
    misses, false_alarms = actual - hit, named - hit
    rest = total - actual - false_alarms
    figures = {
        "precision": np.nan_to_num(ratio(hit, named)),
        "recall": ratio(hit, actual),
        "specificity": ratio(rest, total - actual),
        "npv": ratio(rest, rest + misses),
        "f1": ratio(2 * hit, actual + named),
    }
    for values in figures.values():
        values[actual == 0] = np.nan
    return figures


def summary(labels: Ints, probabilities: Floats) -> dict[str, float]:
    """Accuracy, balanced accuracy and macro precision, recall and F1."""
    table = confusion(labels, probabilities.argmax(1), probabilities.shape[1])
    figures = per_class(table)
    return {
        "accuracy": float(ratio(np.trace(table), table.sum())),
        "balanced_accuracy": mean(figures["recall"]),
        "macro_precision": mean(figures["precision"]),
        "macro_recall": mean(figures["recall"]),
        "macro_f1": mean(figures["f1"]),
    }


def mean(values: Floats) -> float:
    """Over the defined values; NaN without any."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def auroc(truth: NDArray[np.bool_], scores: Floats) -> float:
    """Area under the ROC curve by ranks, ties counted half (Mann and Whitney 1947)."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def precision_recall_curve(truth: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Precision and recall at every distinct threshold, from the strictest on."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(truth[order])[ends]
    return ratio(hits, ends + 1.0), ratio(hits, np.full(len(hits), truth.sum()))


def average_precision(truth: NDArray[np.bool_], scores: Floats) -> float:
    """Sum of precision times gain in recall, without interpolation."""
    if not truth.any():
        return float("nan")
    precision, recall = precision_recall_curve(truth, scores)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def roc_curve(truth: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """False and true positive rate at every distinct threshold, starting at (0, 0)."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(truth[order])[ends]
    false_rate = ratio(ends + 1.0 - hits, np.full(len(hits), (~truth).sum()))
    true_rate = ratio(hits, np.full(len(hits), truth.sum()))
    return np.insert(false_rate, 0, 0.0), np.insert(true_rate, 0, 0.0)


def nll(labels: Ints, probabilities: Floats) -> float:
    """Mean negative log likelihood, in nats."""
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1.0)).mean())


def brier(labels: Ints, probabilities: Floats) -> float:
    """Mean squared distance to the truth over all classes: 0 at best, 2 at worst (Brier 1950)."""
    target = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - target) ** 2).sum(1).mean())


def reliability(
    labels: Ints, probabilities: Floats, bins: int = 15, equal_mass: bool = False
) -> list[dict[str, float]]:
    """Bins of the confidence with their mean confidence, accuracy and count; empty bins are left out."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    if equal_mass:
        parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    else:
        place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        parts = [np.flatnonzero(place == index) for index in range(bins)]
    return [
        {
            "confidence": float(confidence[part].mean()),
            "accuracy": float(right[part].mean()),
            "count": float(len(part)),
        }
        for part in parts
        if len(part)
    ]


def ece(labels: Ints, probabilities: Floats, bins: int = 15, equal_mass: bool = False) -> float:
    """Expected calibration error of the top class (Guo et al., ICML 2017)."""
    rows = reliability(labels, probabilities, bins, equal_mass)
    total = sum(row["count"] for row in rows)
    return float(sum(row["count"] / total * abs(row["confidence"] - row["accuracy"]) for row in rows))


def risk_coverage(labels: Ints, probabilities: Floats) -> tuple[Floats, Floats]:
    """Coverage 1/N..1 and the error rate among the most confident share (Geifman and El-Yaniv 2017)."""
    order = np.argsort(-probabilities.max(1), kind="stable")
    wrong = (probabilities.argmax(1) != labels)[order]
    kept = np.arange(1, len(labels) + 1, dtype=np.float64)
    return kept / len(labels), np.cumsum(wrong) / kept


def risk_at(labels: Ints, probabilities: Floats, coverage: float) -> float:
    """Error rate when only the most confident `coverage` (0..1) is answered."""
    _, risk = risk_coverage(labels, probabilities)
    return float(risk[max(1, round(coverage * len(labels))) - 1])


def aurc(labels: Ints, probabilities: Floats) -> float:
    """Area under the risk-coverage curve: the mean risk over all coverages."""
    return float(risk_coverage(labels, probabilities)[1].mean())


def leukaemia(labels: Ints, probabilities: Floats, malignant: Sequence[bool]) -> dict[str, float]:
    """Leukaemia against benign at the default decision (the likeliest class), and the AUROC of the summed score."""
    mask = np.asarray(malignant, dtype=bool)
    truth, said = mask[labels], mask[probabilities.argmax(1)]
    return {
        "sensitivity": float(ratio((truth & said).sum(), truth.sum())),
        "specificity": float(ratio((~truth & ~said).sum(), (~truth).sum())),
        "auroc": auroc(truth, probabilities[:, mask].sum(1)),
    }


def bootstrap(
    figure: Callable[[Ints], float], groups: Ints, *, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of `figure(positions)` when whole groups are drawn with replacement.

    Pictures of one slide are not independent; giving each picture its own group yields the naive interval.
    """
    generator = np.random.default_rng(seed)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    values = []
    for _ in range(draws):
        chosen = generator.integers(0, len(members), len(members))
        values.append(figure(np.concatenate([members[index] for index in chosen])))
    defined = [value for value in values if not np.isnan(value)]
    if not defined:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)
