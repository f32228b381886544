"""The report is complete, adds up, and is honest about what it was fitted on."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from ml import calibration, evaluation, metrics

CODES = ("Benign", "Early", "Pre", "Pro")


def answers(images: int = 240, seed: int = 0, skill: float = 2.0) -> evaluation.Answers:
    generator = np.random.default_rng(seed)
    labels = np.sort(generator.integers(0, 4, images))
    logits = generator.normal(0, 1, (images, 4))
    logits[np.arange(images), labels] += skill
    names = [f"{CODES[label]}/smear-{number:03d}.jpg" for number, label in enumerate(labels)]
    groups = evaluation.sessions(names, labels, np.arange(images))
    return evaluation.Answers(names, labels, logits, groups, CODES, (False, True, True, True))


@pytest.fixture(scope="module")
def report() -> dict:
    return evaluation.evaluate(answers(), name="test", protocol="drawn", threshold=None, draws=30)


def test_the_report_is_json_without_nan(report: dict) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_confusion_matrix_adds_up_to_the_pictures(report: dict) -> None:
    assert np.sum(report["confusion"]) == report["images"] == 240
    assert report["overall"]["accuracy"]["value"] == pytest.approx(np.trace(report["confusion"]) / 240, abs=1e-6)
    for index, code in enumerate(CODES):
        assert sum(report["confusion"][index]) == report["by_class"][code]["images"]


def test_every_figure_lies_within_its_intervals(report: dict) -> None:
    rows = [*report["overall"].values()]
    rows += [row for figures in report["by_class"].values() for row in figures.values() if isinstance(row, dict)]
    assert len(rows) == 8 + 4 * 7
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["naive_low"] <= row["value"] <= row["naive_high"]


def test_curves_are_thinned_but_keep_their_ends() -> None:
    part = evaluation.curves(answers(3000), calibration.softmax(answers(3000).logits))
    for curve in part["roc"].values():
        assert len(curve["false_positive_rate"]) <= evaluation.CURVE_POINTS
        assert (curve["false_positive_rate"][0], curve["true_positive_rate"][0]) == (0, 0)
        assert (curve["false_positive_rate"][-1], curve["true_positive_rate"][-1]) == (1, 1)


def test_calibration_is_scored_on_groups_it_was_not_fitted_on() -> None:
    """On a few pictures a fitted temperature always looks good on them; the cross-fitted one need not."""
    few = answers(images=40, skill=1.0)
    own = calibration.softmax(few.logits, calibration.fit_temperature(few.logits, few.labels))
    crossed = evaluation.cross_fitted(few)
    assert metrics.nll(few.labels, crossed) > metrics.nll(few.labels, own)
    assert (crossed.argmax(1) == few.logits.argmax(1)).all()


def leaning(images: int = 2000) -> tuple[evaluation.Answers, np.ndarray]:
    """Answers of four networks that all name the second class too readily, and which network each is from."""
    plain = answers(images)
    shift = np.array([0.0, 2.0, 0.0, 0.0])
    part_of = np.random.default_rng(1).integers(0, 4, images)
    return dataclasses.replace(plain, logits=plain.logits + shift), part_of


def test_over_networks_a_bias_takes_back_what_is_named_too_readily() -> None:
    given, part_of = leaning()
    shown = evaluation.evaluate(given, name="test", protocol="drawn", threshold=0.5, draws=5, parts=part_of)
    plain = evaluation.evaluate(given, name="test", protocol="drawn", threshold=0.5, draws=5)
    assert plain["calibration"]["bias"] == []
    assert shown["calibration"]["bias"][1] == pytest.approx(min(shown["calibration"]["bias"]))
    assert shown["overall"]["macro_f1"]["value"] > plain["overall"]["macro_f1"]["value"] + 0.05
    assert "a bias for each class fitted on all parts but one" in shown["calibration"]["how"]


def test_no_part_is_calibrated_with_its_own_truth() -> None:
    given, part_of = leaning()
    labels = given.labels.copy()
    labels[part_of == 2] = (labels[part_of == 2] + 1) % 4
    whole, changed = given, dataclasses.replace(given, labels=labels)
    before, after = (evaluation.cross_fitted(each, part_of, bias=True) for each in (whole, changed))
    assert (before[part_of == 2] == after[part_of == 2]).all()
    assert not (before[part_of != 2] == after[part_of != 2]).all()


def test_a_bias_that_does_not_help_the_other_parts_is_left_out() -> None:
    """Each network leans to another class: what three of them need harms the fourth."""
    plain = answers(800)
    part_of = np.random.default_rng(1).integers(0, 4, 800)
    given = dataclasses.replace(plain, logits=plain.logits + 3 * np.eye(4)[part_of])
    found = evaluation.evaluate(given, name="test", protocol="drawn", threshold=0.5, draws=5, parts=part_of)
    assert found["calibration"]["bias"] == []


def test_overconfident_logits_are_reported_before_and_mended_after() -> None:
    sharp = answers(1000)
    sharp = evaluation.Answers(sharp.names, sharp.labels, sharp.logits * 4, sharp.groups, CODES, sharp.malignant)
    part = evaluation.evaluate(sharp, name="test", protocol="drawn", threshold=0.5, draws=5)["calibration"]
    own = calibration.fit_temperature(answers(1000).logits, answers(1000).labels)
    assert part["temperature"] == pytest.approx(4 * own, rel=0.02)
    assert part["after"]["ece_equal_width"] < part["before"]["ece_equal_width"]
    assert part["after"]["nll"] < part["before"]["nll"]


def test_a_given_threshold_is_used_and_its_coverage_measured(report: dict) -> None:
    found = evaluation.evaluate(answers(), name="test", protocol="drawn", threshold=0.7, draws=5)["selective"]
    kept = evaluation.cross_fitted(answers()).max(1) >= 0.7
    assert found["threshold"] == 0.7
    assert found["coverage_at_threshold"] == pytest.approx(kept.mean())


def test_conformal_sets_are_measured_where_they_were_not_fitted() -> None:
    part = evaluation.conformal(answers(4000), calibration.softmax(answers(4000).logits))
    assert part["coverage"] == pytest.approx(0.95, abs=0.02)


def test_the_surest_mistakes_come_first(report: dict) -> None:
    confidence = [row["confidence"] for row in report["worst"]]
    assert confidence == sorted(confidence, reverse=True)
    assert all(row["truth"] != row["said"] for row in report["worst"])
    assert all(row["image"].startswith(row["truth"]) for row in report["worst"])


def test_sessions_are_runs_of_ten_joined_by_near_duplicates() -> None:
    names = [f"Pro/smear-{number:03d}.jpg" for number in range(30)]
    groups = np.arange(30)
    groups[25] = groups[3]
    found = evaluation.sessions(names, np.zeros(30, dtype=int), groups)
    assert found[0] == found[9] == found[20] != found[10]
    assert len(set(found.tolist())) == 2


def test_sessions_of_two_classes_stay_apart() -> None:
    found = evaluation.sessions(["Pre/1.jpg", "Pro/1.jpg"], np.array([0, 1]), np.array([0, 1]))
    assert found[0] != found[1]
