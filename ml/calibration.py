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


def conformal_threshold(labels: Ints, probabilities: Floats, miss: float = 0.05) -> float:
    """The probability a class needs to be in the prediction set, so that sets miss the truth at most `miss`.

    Split conformal prediction (Vovk et al. 2005; Sadinle et al. 2019). Holds for exchangeable pictures; fields of
    one patient are not, so the reported coverage counts, not the promise.
    """
    scores = np.sort(1.0 - probabilities[np.arange(len(labels)), labels])
    rank = int(np.ceil((len(scores) + 1) * (1 - miss))) - 1
    return float(1.0 - scores[min(rank, len(scores) - 1)])


def conformal_sets(probabilities: Floats, threshold: float) -> np.ndarray:
    """Bool (N, C): the classes in each prediction set."""
    members: np.ndarray = probabilities >= threshold
    return members
