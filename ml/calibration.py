"""Honest probabilities, and when to say nothing: temperature and bias, abstention threshold, conformal sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from ml import metrics
from ml.metrics import Floats, Ints

COOLEST, HOTTEST = 0.25, 8.0
LARGEST_BIAS = 4.0


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponent = np.exp(scaled)
    return exponent / exponent.sum(axis=1, keepdims=True)


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The divisor of the logits with the least negative log likelihood, COOLEST..HOTTEST (Guo et al., ICML 2017)."""
    found = minimize_scalar(
        lambda log: metrics.nll(labels, softmax(logits, float(np.exp(log)))),
        bounds=(np.log(COOLEST), np.log(HOTTEST)),
        method="bounded",
    )
    return round(float(np.exp(found.x)), 4)


@dataclass(frozen=True)
class Calibration:
    """Logits to probabilities: divided by the temperature, then the bias (C,) of each class added; none when empty."""

    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    def __call__(self, logits: Floats) -> Floats:
        scaled = logits.astype(np.float64) / self.temperature
        return softmax(scaled + np.array(self.bias) if self.bias else scaled)


def fit(logits: Floats, labels: Ints, *, bias: bool) -> Calibration:
    """The calibration with the least negative log likelihood; with `bias`, one number for each class besides.

    A network may name one class too readily and another too rarely: a bias takes that back (Alexandari, Kundaje and
    Shrikumar, ICML 2020). It changes which class is the likeliest, a temperature alone does not. The biases add up to
    zero, each within LARGEST_BIAS before that.
    """
    if not bias:
        return Calibration(fit_temperature(logits, labels))
    count = logits.shape[1]
    truth = np.eye(count)[labels]

    def loss(values: Floats) -> tuple[float, Floats]:
        scaled = logits / np.exp(values[0])
        off = softmax(scaled + values[1:]) - truth
        slope = np.concatenate([[-(off * scaled).sum()], off.sum(axis=0)]) / len(labels)
        return metrics.nll(labels, off + truth), slope

    limits = [(np.log(COOLEST), np.log(HOTTEST)), *[(-LARGEST_BIAS, LARGEST_BIAS)] * count]
    found = minimize(loss, np.zeros(count + 1), jac=True, method="L-BFGS-B", bounds=limits)
    centred = found.x[1:] - found.x[1:].mean()
    return Calibration(round(float(np.exp(found.x[0])), 4), tuple(round(float(value), 4) for value in centred))


def abstention_threshold(labels: Ints, probabilities: Floats, *, risk: float, least_coverage: float) -> float:
    """The lowest confidence at which the answers given are wrong at most `risk` of the time.

    Never so high that fewer than `least_coverage` of the pictures get an answer.
    """
    order = np.argsort(-probabilities.max(1), kind="stable")
    confidence = probabilities.max(1)[order]
    coverage, risks = metrics.risk_coverage(labels, probabilities)
    fine = np.flatnonzero((risks <= risk) | (coverage <= least_coverage))
    return float(np.floor(confidence[fine[-1]] * 1e4) / 1e4)


def conformal_threshold(labels: Ints, probabilities: Floats, groups: Ints, miss: float = 0.05) -> float:
    """The probability a class needs to be in the prediction set, so that sets miss the truth at most `miss`.

    Split conformal prediction (Vovk et al. 2005; Sadinle et al. 2019) with every group of the same weight, for a
    picture of a group never seen before (CDF pooling; Dunn, Wasserman and Ramdas, JASA 2022).
    """
    scores = 1.0 - probabilities[np.arange(len(labels)), labels]
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1.0 / (counts[inverse] * (len(counts) + 1))
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, 1 - miss - 1e-12))
    return float(1.0 - scores[order[min(place, len(scores) - 1)]])


def conformal_sets(probabilities: Floats, threshold: float) -> np.ndarray:
    """Bool (N, C): the classes in each prediction set; the likeliest class is always one of them."""
    members: np.ndarray = (probabilities >= threshold) | (probabilities == probabilities.max(1, keepdims=True))
    return members
