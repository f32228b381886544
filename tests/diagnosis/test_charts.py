"""The drawing of a suggestion, as the browser gets it."""

import json
from typing import Any

import pytest

from diagnosis.charts import suggestion_figure
from diagnosis.selectors.predictions import pooled_suggestion
from tests.factories import ModelVersionFactory


@pytest.fixture
def drawing() -> dict[str, Any]:
    version = ModelVersionFactory.build()
    run = {
        "state": "succeeded",
        "probabilities": {"Benign": 0.02, "Early": 0.7, "Pre": 0.2, "Pro": 0.08},
        "abstained": False,
    }
    suggestion = pooled_suggestion(version, [run])
    assert suggestion is not None
    return json.loads(suggestion_figure(suggestion))


def test_the_axis_is_whole_and_names_its_unit(drawing: dict[str, Any]) -> None:
    axis = drawing["layout"]["xaxis"]
    assert axis["range"] == [0, 100]
    assert dict(zip(axis["tickvals"], axis["ticktext"], strict=True)) == {0: "0 %", 50: "50 %", 100: "100 %"}


def test_the_most_probable_is_on_top_and_all_have_their_figure(drawing: dict[str, Any]) -> None:
    (bars,) = drawing["data"]
    assert bars["y"] == ["Benign", "Pro", "Pre", "Early"]
    assert bars["text"] == ["2 %", "8 %", "20 %", "70 %"]
