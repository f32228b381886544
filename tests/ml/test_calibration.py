"""Temperature, abstention and conformal sets do what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from ml import calibration, metrics


def logits(images: int = 4000, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is exactly calibrated at temperature 1, then multiplied by `sharpness`."""
    generator = np.random.default_rng(seed)
    values = generator.normal(0, 2, (images, 4))
    probabilities = calibration.softmax(values)
    labels = np.array([generator.choice(4, p=row) for row in probabilities])
    return values * sharpness, labels


def test_softmax_survives_huge_logits() -> None:
    assert calibration.softmax(np.array([[1e4, 0.0, -1e4]])).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_over_and_underconfidence(sharpness: float) -> None:
    values, labels = logits(sharpness=sharpness)
    assert calibration.fit_temperature(values, labels) == pytest.approx(sharpness, rel=0.1)


def test_the_temperature_lowers_calibration_error_and_changes_no_class() -> None:
    values, labels = logits(sharpness=3.0)
    before = calibration.softmax(values)
    after = calibration.softmax(values, calibration.fit_temperature(values, labels))
    assert metrics.ece(labels, after) < metrics.ece(labels, before) / 4
    assert (before.argmax(1) == after.argmax(1)).all()


def test_a_perfect_small_sample_does_not_drive_the_temperature_out_of_bounds() -> None:
    fitted = calibration.fit_temperature(np.eye(4) * 5, np.arange(4))
    assert 0.25 <= fitted <= 8.0


def test_a_bias_undoes_classes_named_too_readily() -> None:
    values, labels = logits()
    readily = values * 2.0 + np.array([1.5, 0.0, 0.0, -1.0])
    fitted = calibration.fit(readily, labels, bias=True)
    assert fitted.temperature == pytest.approx(2.0, rel=0.1)
    assert fitted.bias == pytest.approx(np.array([-0.6875, 0.0625, 0.0625, 0.5625]), abs=0.12)
    plain = calibration.fit(readily, labels, bias=False)
    assert metrics.nll(labels, fitted(readily)) < metrics.nll(labels, plain(readily))
    assert sum(fitted.bias) == pytest.approx(0.0, abs=1e-3)


def test_a_class_that_is_never_seen_does_not_drive_its_bias_out_of_bounds() -> None:
    values, _ = logits(images=60)
    fitted = calibration.fit(values, values[:, :3].argmax(1), bias=True)
    assert max(abs(value) for value in fitted.bias) <= 2 * calibration.LARGEST_BIAS
    assert np.isfinite(fitted(values)).all()


def test_without_a_bias_a_calibration_is_the_temperature() -> None:
    values, labels = logits(sharpness=3.0)
    fitted = calibration.fit(values, labels, bias=False)
    assert fitted == calibration.Calibration(calibration.fit_temperature(values, labels))
    assert (fitted(values) == calibration.softmax(values, fitted.temperature)).all()


def test_abstaining_keeps_the_risk_below_the_limit() -> None:
    values, labels = logits()
    probabilities = calibration.softmax(values)
    threshold = calibration.abstention_threshold(labels, probabilities, risk=0.05, least_coverage=0.1)
    kept = probabilities.max(1) >= threshold
    assert (probabilities.argmax(1) != labels)[kept].mean() <= 0.055
    assert kept.mean() > 0.1


def test_abstention_never_silences_more_than_allowed() -> None:
    values, labels = logits()
    probabilities = calibration.softmax(values)
    threshold = calibration.abstention_threshold(labels, probabilities, risk=0.0, least_coverage=0.7)
    assert (probabilities.max(1) >= threshold).mean() >= 0.7


def test_a_faultless_model_never_abstains() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    threshold = calibration.abstention_threshold(np.array([0, 0, 1]), probabilities, risk=0.005, least_coverage=0.8)
    assert threshold <= 0.6


@pytest.mark.parametrize("miss", [0.05, 0.2])
def test_conformal_sets_hold_the_truth_as_often_as_promised(miss: float) -> None:
    values, labels = logits()
    probabilities = calibration.softmax(values)
    threshold = calibration.conformal_threshold(labels[:2000], probabilities[:2000], np.arange(2000), miss)
    members = calibration.conformal_sets(probabilities[2000:], threshold)
    covered = members[np.arange(2000), labels[2000:]].mean()
    assert covered == pytest.approx(1 - miss, abs=0.03)


def test_a_large_group_counts_no_more_than_a_small_one() -> None:
    probabilities = np.concatenate([np.tile([0.9, 0.1], (1000, 1)), np.tile([0.3, 0.7], (10, 1))])
    labels, groups = np.zeros(1010, dtype=int), np.repeat([0, *range(1, 11)], [1000, *[1] * 10])
    assert calibration.conformal_threshold(labels, probabilities, groups, 0.2) == pytest.approx(0.3)
    assert calibration.conformal_threshold(labels, probabilities, np.arange(1010), 0.2) == pytest.approx(0.9)


def test_a_conformal_set_is_never_empty() -> None:
    members = calibration.conformal_sets(np.array([[0.4, 0.35, 0.25]]), 0.6)
    assert members.tolist() == [[True, False, False]]
