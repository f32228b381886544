"""The figures of an evaluation report, against scikit-learn on the answers the report was made of."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as theirs

from diagnosis.dashboards.evaluation import Evaluation, evaluation_groups, evaluation_of
from diagnosis.dashboards.figures import Figure, Group
from diagnosis.models import ModelVersion
from diagnosis.services.predictions import model_evaluation_store
from ml import evaluation as ours
from tests.diagnosis.dashboards.conftest import Pick
from tests.diagnosis.dashboards.reports import CODES, answers, curves, report

pytestmark = pytest.mark.django_db


@pytest.fixture
def found(evaluated: ModelVersion) -> Evaluation:
    evaluation = evaluation_of(evaluated)
    assert evaluation is not None
    return evaluation


@pytest.fixture
def groups(found: Evaluation) -> list[Group]:
    return evaluation_groups(found)


@pytest.fixture
def truth() -> np.ndarray:
    return answers().labels


@pytest.fixture
def probabilities() -> np.ndarray:
    return ours.cross_fitted(answers())


def column(figure: Figure, title: str) -> list[Any]:
    place = [column.title for column in figure.columns].index(title)
    return [row[place] for row in figure.rows]


def by_name(figure: Figure, place: int = 1) -> dict[str, Any]:
    return {row[0]: row[place] for row in figure.rows}


def test_the_headline_is_what_scikit_learn_says(
    groups: list[Group], pick: Pick, truth: np.ndarray, probabilities: np.ndarray
) -> None:
    values = by_name(pick(groups, "headline"))
    said = probabilities.argmax(1)
    ill, said_ill = truth > 0, said > 0
    precision, recall, f1, _ = theirs.precision_recall_fscore_support(truth, said, average="macro")
    assert values == pytest.approx(
        {
            "Accuracy": theirs.accuracy_score(truth, said),
            "Balanced accuracy": theirs.balanced_accuracy_score(truth, said),
            "Precision (macro)": precision,
            "Recall (macro)": recall,
            "F1 (macro)": f1,
            "Leukaemia: sensitivity": theirs.recall_score(ill, said_ill),
            "Leukaemia: specificity": theirs.recall_score(~ill, ~said_ill),
            "Leukaemia: AUROC": theirs.roc_auc_score(ill, probabilities[:, 1:].sum(1)),
        },
        abs=2e-6,
    )


def test_the_headline_quotes_the_paper_beside_the_same_figures(groups: list[Group], pick: Pick) -> None:
    figure = pick(groups, "headline")
    claimed = dict(zip(column(figure, "Figure"), column(figure, "Claimed by the paper"), strict=True))
    assert {name: value for name, value in claimed.items() if value} == {
        "Accuracy": 0.987,
        "Precision (macro)": 0.975,
        "Recall (macro)": 0.969,
        "F1 (macro)": 0.972,
    }
    assert "does not say how it split" in figure.note
    assert "contiguous block" in figure.note


def test_another_task_is_not_held_against_the_paper(evaluated: ModelVersion, pick: Pick) -> None:
    ModelVersion.objects.filter(pk=evaluated.pk).update(task="cell-type")
    evaluated.refresh_from_db()
    evaluation = evaluation_of(evaluated)
    assert evaluation
    figure = pick(evaluation_groups(evaluation), "headline")
    assert set(column(figure, "Claimed by the paper")) == {None}
    assert figure.note == ""


def test_the_interval_over_groups_stands_beside_the_naive_one(groups: list[Group], pick: Pick) -> None:
    row = pick(groups, "headline").rows[0]
    expected = report()["protocols"][0]["overall"]["accuracy"]
    assert list(row[1:6]) == [expected[key] for key in ("value", "low", "high", "naive_low", "naive_high")]


def test_the_confusion_matrix_is_scikit_learns(
    groups: list[Group], pick: Pick, truth: np.ndarray, probabilities: np.ndarray
) -> None:
    figure = pick(groups, "confusion")
    expected = theirs.confusion_matrix(truth, probabilities.argmax(1))
    assert [list(row[1:5]) for row in figure.rows] == expected.tolist()
    assert column(figure, "All") == expected.sum(1).tolist()
    shares = theirs.confusion_matrix(truth, probabilities.argmax(1), normalize="true")
    assert column(figure, "Right") == pytest.approx(shares.diagonal().tolist())
    assert np.array([row[-4:] for row in figure.rows], float) == pytest.approx(shares)


def test_the_drawn_matrix_holds_row_shares(groups: list[Group], pick: Pick) -> None:
    drawn = json.loads(pick(groups, "confusion").chart_json)
    counts = np.array(report()["protocols"][0]["confusion"])
    assert np.allclose(drawn["data"][0]["z"], counts / counts.sum(1, keepdims=True))


def test_each_class_by_itself_is_what_scikit_learn_says(
    groups: list[Group], pick: Pick, truth: np.ndarray, probabilities: np.ndarray
) -> None:
    rows = {(row[0], row[1]): row[2] for row in pick(groups, "per-class").rows}
    said = probabilities.argmax(1)
    precision, recall, f1, support = theirs.precision_recall_fscore_support(truth, said)
    for place, code in enumerate(CODES):
        of_class = truth == place
        assert rows[code, "Precision"] == pytest.approx(precision[place], abs=2e-6)
        assert rows[code, "Recall"] == pytest.approx(recall[place], abs=2e-6)
        assert rows[code, "F1"] == pytest.approx(f1[place], abs=2e-6)
        assert rows[code, "Specificity"] == pytest.approx(theirs.recall_score(~of_class, said != place), abs=2e-6)
        assert rows[code, "NPV"] == pytest.approx(theirs.precision_score(~of_class, said != place), abs=2e-6)
        assert rows[code, "AUROC"] == pytest.approx(theirs.roc_auc_score(of_class, probabilities[:, place]), abs=2e-6)
        assert rows[code, "Average precision"] == pytest.approx(
            theirs.average_precision_score(of_class, probabilities[:, place]), abs=2e-6
        )
    assert [row[-1] for row in pick(groups, "per-class").rows][::7] == support.tolist()


def test_the_operating_point_lies_on_the_roc_curve(
    groups: list[Group], pick: Pick, truth: np.ndarray, probabilities: np.ndarray
) -> None:
    figure = pick(groups, "roc")
    said = probabilities.argmax(1)
    for place, row in enumerate(figure.rows):
        of_class = truth == place
        assert row[1] == pytest.approx(((said == place) & ~of_class).sum() / (~of_class).sum(), abs=2e-6)
        assert row[2] == pytest.approx(((said == place) & of_class).sum() / of_class.sum(), abs=2e-6)


def test_the_area_under_the_drawn_curves_is_the_area_that_is_said(groups: list[Group], pick: Pick) -> None:
    figure = pick(groups, "roc")
    drawn = {trace["name"]: trace for trace in json.loads(figure.chart_json)["data"] if trace.get("name") in CODES}
    for row in figure.rows:
        assert theirs.auc(drawn[row[0]]["x"], drawn[row[0]]["y"]) == pytest.approx(row[3], abs=0.01)


def test_every_class_has_its_own_colour_of_the_manifest(evaluated: ModelVersion, pick: Pick) -> None:
    colours = ["#0072B2", "#E69F00", "#CC79A7", "#D55E00"]
    for entry, colour in zip(evaluated.manifest["classes"], colours, strict=True):
        entry["colour"] = colour
    evaluation = evaluation_of(evaluated)
    assert evaluation
    drawn = json.loads(pick(evaluation_groups(evaluation), "roc").chart_json)["data"]
    assert [trace["line"]["color"] for trace in drawn if trace.get("name") in CODES] == colours


def test_calibration_errors_are_those_of_the_answers(
    groups: list[Group], pick: Pick, truth: np.ndarray, probabilities: np.ndarray
) -> None:
    figure = pick(groups, "calibration")
    after = by_name(figure, 2)
    assert after["Negative log likelihood (nats)"] == pytest.approx(theirs.log_loss(truth, probabilities))
    brier = ((probabilities - np.eye(4)[truth]) ** 2).sum(1).mean()
    assert after["Brier score"] == pytest.approx(brier)
    raw = np.exp(answers().logits) / np.exp(answers().logits).sum(1, keepdims=True)
    assert by_name(figure, 1)["Negative log likelihood (nats)"] == pytest.approx(theirs.log_loss(truth, raw))


def test_the_bins_of_the_reliability_diagram_hold_every_image(groups: list[Group], pick: Pick) -> None:
    figure = pick(groups, "reliability")
    for when in ("before calibration", "after calibration"):
        assert sum(row[3] for row in figure.rows if row[0] == when) == 160


def test_the_ece_follows_from_the_bins_of_the_diagram(groups: list[Group], pick: Pick) -> None:
    bins = [row for row in pick(groups, "reliability").rows if row[0] == "after calibration"]
    ece = sum(count / 160 * abs(confidence - right) for _, confidence, right, count in bins)
    assert by_name(pick(groups, "calibration"), 2)["ECE, bins of equal width"] == pytest.approx(ece)


def test_risk_and_coverage_at_the_threshold_in_use(
    groups: list[Group], pick: Pick, truth: np.ndarray, probabilities: np.ndarray
) -> None:
    row = pick(groups, "risk-coverage").rows[-1]
    kept = probabilities.max(1) >= report()["protocols"][0]["selective"]["threshold"]
    assert row[1] == pytest.approx(kept.mean())
    assert row[2] == pytest.approx((probabilities.argmax(1) != truth)[kept].mean(), abs=2e-6)


def test_risk_at_ninety_percent_coverage(
    groups: list[Group], pick: Pick, truth: np.ndarray, probabilities: np.ndarray
) -> None:
    surest = np.argsort(-probabilities.max(1), kind="stable")[:144]
    wrong = (probabilities.argmax(1) != truth)[surest].mean()
    assert by_name(pick(groups, "risk-coverage"), 2)["the most confident 90%"] == pytest.approx(wrong)


def test_protocols_stand_side_by_side(groups: list[Group], pick: Pick) -> None:
    figure = pick(groups, "protocols")
    assert column(figure, "Protocol") == ["contiguous block", "random split"]
    assert column(figure, "Accuracy") == [entry["overall"]["accuracy"]["value"] for entry in report()["protocols"]]


def test_what_becomes_of_images_adds_up(model_version: ModelVersion, pick: Pick) -> None:
    first, second = report()["protocols"]
    became = {"images": 160, "refused": 2, "abstained": 30, "answered": 128, "answered_wrong": 1}
    stored = {"protocols": [first, {**second, "name": "as-shipped", "shipped": became}]}
    model_evaluation_store(model_version=model_version, report=stored, curves=None)
    evaluation = evaluation_of(model_version)
    assert evaluation
    figure = pick(evaluation_groups(evaluation), "as-shipped")
    assert column(figure, "Images") == [2, 30, 127, 1]
    assert sum(column(figure, "Share")) == pytest.approx(1)
    assert figure.note == "1 of 128 answers were wrong."


def test_another_protocol_can_be_looked_at(evaluated: ModelVersion, pick: Pick) -> None:
    evaluation = evaluation_of(evaluated, place=1)
    assert evaluation
    shown = [list(row[1:5]) for row in pick(evaluation_groups(evaluation), "confusion").rows]
    assert shown == report()["protocols"][1]["confusion"]


def test_a_protocol_that_is_not_there_falls_back_to_the_first(evaluated: ModelVersion) -> None:
    evaluation = evaluation_of(evaluated, place=9)
    assert evaluation
    assert evaluation.protocol["name"] == "contiguous block"


def test_the_surest_mistake_stands_first(groups: list[Group], pick: Pick) -> None:
    confidence = column(pick(groups, "worst-errors"), "Confidence")
    assert confidence == sorted(confidence, reverse=True)
    assert len(confidence) == len(report()["protocols"][0]["worst"])


def test_the_data_flow_adds_up_in_the_order_of_the_classes(groups: list[Group], pick: Pick) -> None:
    figure = pick(groups, "data-flow")
    assert column(figure, "Class") == [*CODES, "All"]
    assert [item.title for item in figure.columns][1:] == ["Train", "Embargo", "Held out"]
    assert figure.rows[-1][1:] == (40, 120, 80)
    assert "12 identical files" in figure.note


def test_a_data_flow_without_counts_is_said_in_words(model_version: ModelVersion, pick: Pick) -> None:
    """Reports of ml.evaluate know how many images there were and no more."""
    made = report() | {"data": {"images": 2578, "sha256": "cd" * 32}}
    model_evaluation_store(model_version=model_version, report=made, curves=None)
    evaluation = evaluation_of(model_version)
    assert evaluation
    figure = pick(evaluation_groups(evaluation), "data-flow")
    assert figure.rows == []
    assert figure.note == "2578 images; fingerprint cdcdcdcdcdcdcdcd…; 40 groups held out."


def test_the_unchanged_images_stand_first(groups: list[Group], pick: Pick) -> None:
    assert column(pick(groups, "robustness"), "What") == ["Unchanged", "Jpeg 30"]


def test_a_number_of_images_is_no_measure(groups: list[Group], pick: Pick) -> None:
    figure = pick(groups, "robustness")
    assert [item.title for item in figure.columns] == [
        "What",
        "Accuracy",
        "Macro f1",
        "Leukaemia sensitivity",
        "Leukaemia specificity",
    ]
    assert figure.note == "On 50 images."
    assert figure.cells[0][1].text == "90.0 %"


def test_shortcuts_raw_and_as_the_model_sees_them(groups: list[Group], pick: Pick) -> None:
    figure = pick(groups, "shortcuts")
    model = report()["protocols"][0]["overall"]["balanced_accuracy"]["value"]
    assert [item.title for item in figure.columns] == ["What", "Raw images", "What the model sees", "Chance"]
    assert figure.rows == [
        ("The model itself", None, model, None),
        ("Background colour", 0.61, 0.31, 0.25),
        ("Picture size", 0.25, None, 0.25),
    ]


def test_training_curves_skip_epochs_without_a_measure(groups: list[Group], pick: Pick) -> None:
    figure = pick(groups, "training-loss")
    held_out = [row[2] for row in figure.rows]
    assert held_out[:4] == [None, 0.5, None, 0.25]
    drawn = json.loads(figure.chart_json)["data"][1]
    assert drawn["x"] == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize(
    "missing", ["overall", "confusion", "by_class", "curves", "calibration", "selective", "worst"]
)
def test_a_part_that_the_report_lacks_gives_no_figure(missing: str, model_version: ModelVersion) -> None:
    protocol = {key: value for key, value in report()["protocols"][0].items() if key != missing}
    model_evaluation_store(model_version=model_version, report={"protocols": [protocol]}, curves=None)
    evaluation = evaluation_of(model_version)
    assert evaluation
    assert evaluation_groups(evaluation)


def test_no_report_is_no_evaluation(model_version: ModelVersion) -> None:
    assert evaluation_of(model_version) is None


def test_curves_alone_are_drawn(model_version: ModelVersion) -> None:
    model_evaluation_store(model_version=model_version, report=None, curves=curves())
    evaluation = evaluation_of(model_version)
    assert evaluation
    groups = evaluation_groups(evaluation)
    assert [group.key for group in groups if group.figures] == ["data"]
    assert all(group.missing for group in groups)


def test_a_figure_that_is_not_defined_is_a_dash(evaluated: ModelVersion, pick: Pick) -> None:
    changed = json.loads(json.dumps(report()))
    changed["protocols"][0]["overall"]["accuracy"] = dict.fromkeys(("value", "low", "high", "naive_low", "naive_high"))
    model_evaluation_store(model_version=evaluated, report=changed, curves=None)
    evaluation = evaluation_of(evaluated)
    assert evaluation
    figure = pick(evaluation_groups(evaluation), "headline")
    assert figure.cells[0][1].text == "–"
    assert figure.chart_json
