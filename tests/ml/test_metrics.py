"""Every figure against scikit-learn, on probabilities with ties, rare classes and overconfident errors."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from ml import metrics as ours


def example(seed: int, images: int = 300, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, images, p=[0.1, 0.3, 0.35, 0.25])
    logits = generator.normal(0, 1.2, (images, classes))
    logits[np.arange(images), labels] += 1.5
    exponent = np.exp(np.round(logits, 1))
    return labels, exponent / exponent.sum(1, keepdims=True)


@pytest.fixture(params=[0, 1, 2])
def answers(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    return example(request.param)


def test_confusion(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    guesses = probabilities.argmax(1)
    assert np.array_equal(ours.confusion(labels, guesses, 4), theirs.confusion_matrix(labels, guesses))


def test_summary(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    guesses = probabilities.argmax(1)
    found = ours.summary(labels, probabilities)
    assert found["accuracy"] == pytest.approx(theirs.accuracy_score(labels, guesses))
    assert found["balanced_accuracy"] == pytest.approx(theirs.balanced_accuracy_score(labels, guesses))
    assert found["macro_precision"] == pytest.approx(theirs.precision_score(labels, guesses, average="macro"))
    assert found["macro_recall"] == pytest.approx(theirs.recall_score(labels, guesses, average="macro"))
    assert found["macro_f1"] == pytest.approx(theirs.f1_score(labels, guesses, average="macro"))


def test_per_class(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    guesses = probabilities.argmax(1)
    found = ours.per_class(ours.confusion(labels, guesses, 4))
    precision, recall, f1, _ = theirs.precision_recall_fscore_support(labels, guesses)
    assert found["precision"] == pytest.approx(precision)
    assert found["recall"] == pytest.approx(recall)
    assert found["f1"] == pytest.approx(f1)
    for index in range(4):
        truth, said = labels == index, guesses == index
        assert found["specificity"][index] == pytest.approx(theirs.recall_score(~truth, ~said))
        assert found["npv"][index] == pytest.approx(theirs.precision_score(~truth, ~said))


def test_a_class_that_is_never_said_has_no_precision_left() -> None:
    found = ours.per_class(ours.confusion(np.array([0, 1, 2]), np.array([0, 0, 2]), 3))
    assert found["precision"].tolist() == [0.5, 0.0, 1.0]
    assert found["f1"][1] == 0.0


def test_a_class_that_never_occurs_does_not_count() -> None:
    labels, probabilities = np.array([0, 0, 1]), np.eye(3)[[0, 0, 1]]
    assert ours.summary(labels, probabilities)["macro_f1"] == 1.0
    assert np.isnan(ours.per_class(ours.confusion(labels, probabilities.argmax(1), 3))["recall"][2])


def test_ranking_figures(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    for index in range(4):
        truth, scores = labels == index, probabilities[:, index]
        assert ours.auroc(truth, scores) == pytest.approx(theirs.roc_auc_score(truth, scores))
        assert ours.average_precision(truth, scores) == pytest.approx(theirs.average_precision_score(truth, scores))


def test_roc_curve_holds_their_points(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    truth, scores = labels == 1, probabilities[:, 1]
    false_rate, true_rate = ours.roc_curve(truth, scores)
    their_false, their_true, _ = theirs.roc_curve(truth, scores, drop_intermediate=False)
    assert false_rate == pytest.approx(their_false)
    assert true_rate == pytest.approx(their_true)


def test_auroc_without_one_side_is_not_defined() -> None:
    assert np.isnan(ours.auroc(np.array([True, True]), np.array([0.1, 0.2])))


def test_likelihood_and_brier(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    assert ours.nll(labels, probabilities) == pytest.approx(theirs.log_loss(labels, probabilities))
    by_class = sum(theirs.brier_score_loss(labels == index, probabilities[:, index]) for index in range(4))
    assert ours.brier(labels, probabilities) == pytest.approx(by_class)


def test_leukaemia_against_benign(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    found = ours.leukaemia(labels, probabilities, [False, True, True, True])
    truth, said = labels > 0, probabilities.argmax(1) > 0
    assert found["sensitivity"] == pytest.approx(theirs.recall_score(truth, said))
    assert found["specificity"] == pytest.approx(theirs.recall_score(~truth, ~said))
    assert found["auroc"] == pytest.approx(theirs.roc_auc_score(truth, probabilities[:, 1:].sum(1)))


def test_calibrated_answers_have_next_to_no_calibration_error() -> None:
    generator = np.random.default_rng(0)
    sure = generator.uniform(0.5, 1.0, 40_000)
    labels = (generator.uniform(size=40_000) > sure).astype(int)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    assert ours.ece(labels, probabilities) < 0.01
    assert ours.ece(labels, probabilities, equal_mass=True) < 0.01


def test_overconfidence_is_counted_as_calibration_error() -> None:
    labels = np.array([0, 1] * 50)
    probabilities = np.tile([0.9, 0.1], (100, 1))
    assert ours.ece(labels, probabilities) == pytest.approx(0.4)
    assert ours.ece(labels, probabilities, equal_mass=True) == pytest.approx(0.4)


def test_reliability_bins_hold_every_picture(answers: tuple[np.ndarray, np.ndarray]) -> None:
    for equal_mass in (False, True):
        assert sum(row["count"] for row in ours.reliability(*answers, equal_mass=equal_mass)) == 300


def test_risk_coverage_by_hand() -> None:
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    coverage, risk = ours.risk_coverage(labels, probabilities)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx([0, 0, 1 / 3, 1 / 4])
    assert ours.aurc(labels, probabilities) == pytest.approx((1 / 3 + 1 / 4) / 4)
    assert ours.risk_at(labels, probabilities, 0.5) == 0.0
    assert ours.risk_at(labels, probabilities, 1.0) == 0.25


def test_bootstrap_over_groups_is_wider_than_over_pictures() -> None:
    generator = np.random.default_rng(0)
    right = np.repeat(generator.uniform(size=20) < 0.7, 15).astype(float)
    groups = np.repeat(np.arange(20), 15)
    low, high = ours.bootstrap(lambda chosen: float(right[chosen].mean()), groups, draws=300)
    naive_low, naive_high = ours.bootstrap(lambda chosen: float(right[chosen].mean()), np.arange(300), draws=300)
    assert low < right.mean() < high
    assert high - low > 2 * (naive_high - naive_low)


def test_bootstrap_of_what_is_never_defined_is_not_defined() -> None:
    assert np.isnan(ours.bootstrap(lambda _: float("nan"), np.arange(5), draws=5)).all()


def test_bootstrap_is_repeatable() -> None:
    values = np.arange(30.0)
    draw = [ours.bootstrap(lambda chosen: float(values[chosen].mean()), np.arange(30), draws=50) for _ in range(2)]
    assert draw[0] == draw[1]
