"""One honest report of a classifier: what the dashboards draw and the model card quotes.

Every figure carries a 95 % interval from a bootstrap over groups (pictures of one session are not independent) and,
beside it, the naive one over pictures. Everything is JSON; figures that are not defined are null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import calibration, metrics, splits
from ml.calibration import Calibration
from ml.metrics import Floats, Ints

SCHEMA_VERSION = 1
CURVE_POINTS = 200
SESSION = 10


@dataclass(frozen=True)
class Answers:
    """Raw logits (N, C) for pictures with truth (N,) and group (N,); `malignant` (C,) marks leukaemia classes."""

    names: Sequence[str]
    labels: Ints
    logits: Floats
    groups: Ints
    codes: Sequence[str]
    malignant: Sequence[bool]

    def part(self, positions: Ints) -> Answers:
        names = [self.names[index] for index in positions]
        picked = self.labels[positions], self.logits[positions], self.groups[positions]
        return Answers(names, *picked, self.codes, self.malignant)


def pooled(parts: Sequence[Answers]) -> Answers:
    """The answers of several networks to pictures that none of them learned from, as one."""
    first = parts[0]
    names = [name for part in parts for name in part.names]
    labels, logits, groups = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "logits", "groups")
    )
    return Answers(names, labels, logits, groups, first.codes, first.malignant)


def sessions(names: Sequence[str], labels: Ints, groups: Ints) -> Ints:
    """Stand-in for patients where none are known: runs of ten file numbers of a class, joined by near duplicates.

    A name without a number stands for itself.
    """
    keys = [f"{label}-{run_of(name)}" for name, label in zip(names, labels, strict=True)]
    runs = np.unique(keys, return_inverse=True)[1]
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        runs[np.isin(runs, runs[members])] = runs[members[0]]
    return np.unique(runs, return_inverse=True)[1].astype(np.int64)


def run_of(name: str) -> int | str:
    try:
        return splits.file_number(name) // SESSION
    except ValueError:
        return name


def halves(groups: Ints, seed: int = 0) -> Ints:
    """0 or 1 for each picture (N,): the half of the groups it belongs to, drawn at random."""
    drawn = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.isin(groups, drawn[: len(drawn) // 2]).astype(np.int64)


def cross_fitted(answers: Answers, parts: Ints | None = None, *, bias: bool = False) -> Floats:
    """Probabilities of each part (N,), halves of the groups unless given, with a calibration fitted on the other
    parts: it is not marked by itself."""
    part_of = halves(answers.groups) if parts is None else parts
    probabilities = np.zeros(answers.logits.shape, dtype=np.float64)
    for part in np.unique(part_of):
        mine, other = part_of == part, part_of != part
        fitted = Calibration()
        if other.any():
            fitted = calibration.fit(answers.logits[other], answers.labels[other], bias=bias)
        probabilities[mine] = fitted(answers.logits[mine])
    return probabilities


def best_fitted(answers: Answers, parts: Ints | None) -> tuple[Calibration, Floats, str]:
    """The calibration, the probabilities that figures are made of (see `cross_fitted`), and how both were come by.

    Without parts with a temperature alone: on one held-out part a bias for each class would be fitted to its few
    patients. Over parts, each answered by a network of its own, with what has the lower negative log likelihood.
    """
    tried = (False,) if parts is None else (False, True)
    choices = {bias: cross_fitted(answers, parts, bias=bias) for bias in tried}
    bias = min(choices, key=lambda each: metrics.nll(answers.labels, choices[each]))
    what = "temperature and a bias for each class" if bias else "temperature"
    how = "half of the groups, scored on the other half, and the other way round"
    if parts is not None:
        how = "all parts but one, scored on that one, in turn"
    return calibration.fit(answers.logits, answers.labels, bias=bias), choices[bias], f"{what} fitted on {how}"


Compute = Callable[[Ints, Floats], float]


def figure(answers: Answers, probabilities: Floats, compute: Compute, draws: int) -> dict[str, float | None]:
    """A value with its interval over groups and the naive one over pictures."""

    def drawn(chosen: Ints) -> float:
        return compute(answers.labels[chosen], probabilities[chosen])

    low, high = metrics.bootstrap(drawn, answers.groups, draws=draws)
    naive_low, naive_high = metrics.bootstrap(drawn, np.arange(len(answers.labels)), draws=draws)
    value = compute(answers.labels, probabilities)
    row = {"value": value, "low": low, "high": high, "naive_low": naive_low, "naive_high": naive_high}
    return {key: finite(number) for key, number in row.items()}


def finite(number: float) -> float | None:
    return round(float(number), 6) if math.isfinite(number) else None


def of_summary(name: str) -> Compute:
    return lambda labels, probabilities: metrics.summary(labels, probabilities)[name]


def of_leukaemia(name: str, malignant: Sequence[bool]) -> Compute:
    return lambda labels, probabilities: metrics.leukaemia(labels, probabilities, malignant)[name]


def of_class(name: str, index: int) -> Compute:
    """A figure of the confusion matrix for one class."""

    def compute(labels: Ints, probabilities: Floats) -> float:
        table = metrics.confusion(labels, probabilities.argmax(1), probabilities.shape[1])
        return float(metrics.per_class(table)[name][index])

    return compute


def of_ranking(rank: Callable[[Any, Floats], float], index: int) -> Compute:
    """A figure of one class against the others over all thresholds."""
    return lambda labels, probabilities: rank(labels == index, probabilities[:, index])


def overall(answers: Answers, probabilities: Floats, draws: int) -> dict[str, Any]:
    names = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1")
    computes = {name: of_summary(name) for name in names}
    for name in ("sensitivity", "specificity", "auroc"):
        computes[f"leukaemia_{name}"] = of_leukaemia(name, answers.malignant)
    return {name: figure(answers, probabilities, compute, draws) for name, compute in computes.items()}


def by_class(answers: Answers, probabilities: Floats, draws: int) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for index, code in enumerate(answers.codes):
        computes = {name: of_class(name, index) for name in ("precision", "recall", "specificity", "npv", "f1")}
        computes["auroc"] = of_ranking(metrics.auroc, index)
        computes["average_precision"] = of_ranking(metrics.average_precision, index)
        rows[code] = {name: figure(answers, probabilities, compute, draws) for name, compute in computes.items()}
        rows[code]["images"] = int((answers.labels == index).sum())
    return rows


def thinned(*curves: Floats) -> list[list[float]]:
    """At most CURVE_POINTS points of each curve, both ends kept."""
    places = np.unique(np.linspace(0, len(curves[0]) - 1, CURVE_POINTS).round().astype(int))
    return [[round(float(value), 5) for value in np.nan_to_num(curve[places])] for curve in curves]


def curves(answers: Answers, probabilities: Floats) -> dict[str, Any]:
    found: dict[str, Any] = {"roc": {}, "precision_recall": {}}
    for index, code in enumerate(answers.codes):
        truth, scores = answers.labels == index, probabilities[:, index]
        false_rate, true_rate = thinned(*metrics.roc_curve(truth, scores))
        found["roc"][code] = {"false_positive_rate": false_rate, "true_positive_rate": true_rate}
        precision, recall = thinned(*metrics.precision_recall_curve(truth, scores))
        found["precision_recall"][code] = {"precision": precision, "recall": recall}
    return found


def calibration_part(
    answers: Answers, raw: Floats, calibrated: Floats, fitted: Calibration, how: str
) -> dict[str, Any]:
    def row(probabilities: Floats) -> dict[str, float]:
        labels = answers.labels
        return {
            "ece_equal_width": metrics.ece(labels, probabilities),
            "ece_equal_mass": metrics.ece(labels, probabilities, equal_mass=True),
            "brier": metrics.brier(labels, probabilities),
            "nll": metrics.nll(labels, probabilities),
        }

    return {
        "temperature": fitted.temperature,
        "bias": list(fitted.bias),
        "how": how,
        "before": row(raw),
        "after": row(calibrated),
        "reliability": metrics.reliability(answers.labels, calibrated),
        "reliability_before": metrics.reliability(answers.labels, raw),
    }


def selective(answers: Answers, probabilities: Floats, threshold: float) -> dict[str, Any]:
    labels = answers.labels
    coverage, risk = thinned(*metrics.risk_coverage(labels, probabilities))
    kept = probabilities.max(1) >= threshold
    wrong = probabilities.argmax(1) != labels
    return {
        "coverage": coverage,
        "risk": risk,
        "aurc": metrics.aurc(labels, probabilities),
        "risk_at": {f"{share:.2f}": metrics.risk_at(labels, probabilities, share) for share in (0.8, 0.9, 0.95)},
        "threshold": threshold,
        "coverage_at_threshold": float(kept.mean()),
        "risk_at_threshold": finite(float(wrong[kept].mean())) if kept.any() else None,
    }


def conformal(answers: Answers, probabilities: Floats, miss: float = 0.05, seed: int = 0) -> dict[str, Any]:
    """Coverage and set size when the threshold comes from the other half of the groups."""
    first = halves(answers.groups, seed) == 1
    members = np.zeros(probabilities.shape, dtype=bool)
    for mine, other in ((first, ~first), (~first, first)):
        if other.any():
            limit = calibration.conformal_threshold(
                answers.labels[other], probabilities[other], answers.groups[other], miss
            )
            members[mine] = calibration.conformal_sets(probabilities[mine], limit)
    covered = members[np.arange(len(answers.labels)), answers.labels]
    rows = {
        code: {
            "coverage": finite(float(covered[answers.labels == index].mean())),
            "set_size": finite(float(members[answers.labels == index].sum(1).mean())),
        }
        for index, code in enumerate(answers.codes)
        if (answers.labels == index).any()
    }
    return {"aimed_at": 1 - miss, "coverage": float(covered.mean()), "by_class": rows}


def worst(answers: Answers, probabilities: Floats, count: int = 20) -> list[dict[str, Any]]:
    """The errors made with the most confidence."""
    guesses, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(guesses != answers.labels)
    return [
        {
            "image": answers.names[index],
            "truth": answers.codes[answers.labels[index]],
            "said": answers.codes[guesses[index]],
            "confidence": round(float(confidence[index]), 4),
        }
        for index in wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    ]


def evaluate(
    answers: Answers,
    *,
    name: str,
    protocol: str,
    threshold: float | None,
    draws: int = 1000,
    risk: float = 0.005,
    least_coverage: float = 0.8,
    parts: Ints | None = None,
) -> dict[str, Any]:
    """The whole report of one protocol; `threshold` None picks the abstention threshold from these very answers.

    `parts` (N,): which network of a cross-validation each answer is from.
    """
    raw = calibration.softmax(answers.logits)
    fitted, calibrated, how = best_fitted(answers, parts)
    if threshold is None:
        threshold = calibration.abstention_threshold(
            answers.labels, calibrated, risk=risk, least_coverage=least_coverage
        )
    table = metrics.confusion(answers.labels, calibrated.argmax(1), len(answers.codes))
    return {
        "name": name,
        "protocol": protocol,
        "images": len(answers.labels),
        "groups": len(np.unique(answers.groups)),
        "classes": list(answers.codes),
        "confusion": table.tolist(),
        "overall": overall(answers, calibrated, draws),
        "by_class": by_class(answers, calibrated, draws),
        "curves": curves(answers, calibrated),
        "calibration": calibration_part(answers, raw, calibrated, fitted, how),
        "selective": selective(answers, calibrated, threshold),
        "conformal": conformal(answers, calibrated),
        "worst": worst(answers, calibrated),
    }
