"""Honest probabilities, and when to say nothing: temperature, abstention threshold, conformal sets."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from ml import metrics
from ml.metrics import Floats, Ints


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponent = np.exp(scaled)
    return exponent / exponent.sum(axis=1, keepdims=True)


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The divisor of the logits with the least negative log likelihood, 0.25..8 (Guo et al., ICML 2017)."""
    found = minimize_scalar(
        lambda log: metrics.nll(labels, softmax(logits, float(np.exp(log)))),
        bounds=(np.log(0.25), np.log(8.0)),
        method="bounded",
    )
    return round(float(np.exp(found.x)), 4)


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
