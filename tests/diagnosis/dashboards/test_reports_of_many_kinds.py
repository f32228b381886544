"""Reports as later releases bring them: eleven classes, several protocols, figures that are not defined, parts that
are not there. Each must be drawn, and what is not there must be said."""

import copy
import functools
import json
from typing import Any

import numpy as np
import pytest
from django.urls import reverse

from accounts.models import User
from diagnosis.dashboards.evaluation import Evaluation, evaluation_groups
from diagnosis.dashboards.figures import Figure
from diagnosis.models import ModelVersion
from diagnosis.services.predictions import model_evaluation_store
from ml import evaluation
from tests.conftest import SignedIn
from tests.diagnosis.dashboards.reports import curves, report
from tests.factories import ModelVersionFactory

pytestmark = pytest.mark.django_db

CODES = tuple(f"cell-{number}" for number in range(11))
PROBES = {"probes": [{"name": "background colour", "balanced_accuracy": 0.31, "chance": 0.09}]}


@functools.cache
def eleven() -> dict[str, Any]:
    """Of eleven classes two were not among the images, so that much of them is not defined."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 9, 200)
    logits = rng.normal(0, 1, (200, 11))
    logits[np.arange(200), labels] += 3
    answers = evaluation.Answers(
        [f"{number}.jpg" for number in range(200)],
        labels,
        logits,
        np.arange(200) // 4,
        CODES,
        [code == "cell-0" for code in CODES],
    )
    names = ("contiguous-block", "random-split", "cross-validation", "external-other-hospital")
    made = [
        json.loads(json.dumps(evaluation.evaluate(answers, name=name, protocol=f"{name}.", threshold=0.5, draws=10)))
        for name in names
    ]
    return report() | {"task": "cell-type", "protocols": made, "shortcuts": PROBES, "data": {"images": 200}}


def cells() -> ModelVersion:
    classes = [
        {
            "code": code,
            "title": f"Immature granulocyte {code}",
            "description": "",
            "malignant": False,
            "colour": "#123456",
        }
        for code in CODES
    ]
    return ModelVersionFactory(task="cell-type", status="candidate", manifest={"classes": classes})


def figures(version: ModelVersion, said: dict[str, Any]) -> dict[str, Figure]:
    groups = evaluation_groups(Evaluation(version, said, curves()))
    found = {figure.key: figure for group in groups for figure in group.figures}
    for figure in found.values():
        assert all(len(row) == len(figure.columns) for row in figure.cells)
        assert "NaN" not in figure.chart_json
    return found


def missing(version: ModelVersion, said: dict[str, Any]) -> list[str]:
    return [name for group in evaluation_groups(Evaluation(version, said, [])) for name in group.missing]


def test_a_report_of_eleven_classes_is_drawn_whole() -> None:
    found = figures(cells(), eleven())
    assert {"headline", "confusion", "per-class", "roc", "precision-recall", "reliability", "shortcuts"} <= set(found)
    matrix = found["confusion"]
    assert len(matrix.rows) == 11
    assert matrix.wide
    assert matrix.chart is not None
    assert matrix.chart.layout.xaxis.tickangle == -35
    assert found["roc"].wide
    drawn = found["per-class"].chart
    assert drawn is not None
    assert len(drawn.layout.yaxis.ticktext) == 22
    assert len(found["per-class"].rows) == 77


def test_what_is_not_defined_is_a_dash() -> None:
    rows = {(row[0].text, row[1].text): row for row in figures(cells(), eleven())["per-class"].cells}
    assert rows["Immature granulocyte cell-10", "AUROC"][2].text == "–"
    assert rows["Immature granulocyte cell-10", "Recall"][2].text == "–"


def test_a_report_whose_every_figure_is_undefined_still_has_a_page(technician: User) -> None:
    def emptied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: emptied(part) for key, part in value.items()}
        if isinstance(value, list):
            return [emptied(part) for part in value]
        return None if isinstance(value, float) else value

    version = cells()
    model_evaluation_store(model_version=version, report=emptied(eleven()), curves=emptied(curves()))
    for protocol in range(4):
        address = reverse("dashboards:models")
        page = SignedIn(technician).get(address, {"task": "cell-type", "protocol": protocol})
        assert page.status_code == 200
    assert SignedIn(technician).get(reverse("dashboards:model_facts", args=[version.pk])).status_code == 200


def test_random_and_honest_split_are_compared_in_points(model_version: ModelVersion) -> None:
    said = copy.deepcopy(eleven())
    for entry, accuracy in zip(said["protocols"], (0.90, 0.95, 0.91, 0.7), strict=True):
        entry["overall"]["accuracy"]["value"] = accuracy
    figure = figures(cells(), said)["protocols"]
    assert figure.note == "random-split against contiguous-block: +5.0 points of accuracy."
    assert [row[0] for row in figure.rows] == [entry["name"] for entry in said["protocols"]]
    assert missing(cells(), said) == [
        "images answered as shipped, with refusals, second opinion and abstention",
        "how images that are none of its business are told apart",
        "the deletion test of the heat map",
        "training and validation curves",
    ]


def test_probes_stand_beside_the_model() -> None:
    figure = figures(cells(), eleven())["shortcuts"]
    model = eleven()["protocols"][0]["overall"]["balanced_accuracy"]["value"]
    assert list(figure.rows) == [("The model itself", model, None), ("Background colour", 0.31, 0.09)]


@pytest.mark.parametrize(
    "probes",
    [{}, {"probes": []}, {"probes": None}, [], None, {"probes": [{"name": None}]}, {"note": "none were made"}],
)
def test_probes_that_are_not_there_are_named_as_missing(probes: Any, model_version: ModelVersion) -> None:
    said = report() | {"shortcuts": probes}
    assert "shortcuts" not in figures(model_version, said)
    assert any("shortcut probes" in name for name in missing(model_version, said))


@pytest.mark.parametrize("part", sorted(set(report()) - {"schema_version", "task", "version"}))
def test_any_part_may_be_missing(part: str, model_version: ModelVersion) -> None:
    said = {key: value for key, value in report().items() if key != part}
    full = set(figures(model_version, report()))
    assert set(figures(model_version, said)) < full


@pytest.mark.parametrize("part", sorted(report()["protocols"][0].keys() - {"name", "classes"}))
def test_any_part_of_a_protocol_may_be_missing_or_null(part: str, model_version: ModelVersion) -> None:
    said = copy.deepcopy(report())
    said["protocols"][0].pop(part)
    assert figures(model_version, said)
    said["protocols"][0][part] = None
    assert figures(model_version, said)


def test_the_page_names_what_a_release_did_not_measure(model_version: ModelVersion, technician: User) -> None:
    said = report() | {"protocols": report()["protocols"][:1]}
    said.pop("shortcuts")
    model_evaluation_store(model_version=model_version, report=said, curves=curves())
    shown = SignedIn(technician).get(reverse("dashboards:models")).content.decode()
    assert "Not in this version&#x27;s report:" in shown or "Not in this version's report:" in shown
    for name in ("a random split beside the honest one", "images of another laboratory", "shortcut probes"):
        assert name in shown


def test_the_papers_claims_are_lines_whose_protocol_is_named_as_unknown() -> None:
    said = report()
    version = ModelVersionFactory(task="b-all-stage", status="candidate")
    chart = figures(version, said)["headline"].chart
    assert chart is not None
    (line,) = [trace for trace in chart.data if "paper" in (trace.name or "")]
    assert line.mode == "lines"
    assert line.name.endswith("split not stated")
    assert sorted({x for x in line.x if x is not None}) == [0.969, 0.972, 0.975, 0.987]
