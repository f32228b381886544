"""Cells a model found, on their way into the database."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from accounts.models import User
from diagnosis.models import ModelVersion, PredictionRun, SmearImage
from diagnosis.states import RunState
from ml.predictor import Prediction, Predictor
from tests.factories import submitted_case
from tests.worker.test_drain import work_off
from worker.answers import MOST_CELLS, UnsoundAnswer, cells_of


def cell(box: tuple = (10.0, 20.0, 30.0, 30.0), label: str = "blast", probability: float = 0.9) -> Any:
    return SimpleNamespace(box=box, label=label, probabilities={"blast": probability, "lymphocyte": 0.1})


def prediction(*cells: Any) -> Prediction:
    return Prediction("b-all-stage", "b-all-stage/1", "Early", {"Early": 1.0}, 1.0, False, False, (), cells=cells)


def test_a_cell_is_kept_in_pixels_of_the_image_with_its_probability() -> None:
    assert cells_of(prediction(cell()), 100, 160) == [
        {"box": [10.0, 20.0, 30.0, 30.0], "label": "blast", "probability": 0.9}
    ]


def test_one_that_touches_the_edges_is_inside() -> None:
    assert cells_of(prediction(cell((0, 0, 160, 100))), 100, 160)


@pytest.mark.parametrize(
    "wrong",
    [
        cell((-1, 0, 10, 10)),
        cell((0, 95, 10, 10)),
        cell((155, 0, 10, 10)),
        cell((10, 10, 0, 10)),
        cell((math.nan, 0, 10, 10)),
        cell((0, 0, math.inf, 10)),
        cell(probability=math.nan),
        cell(probability=1.5),
        cell(label="unheard-of"),
    ],
)
def test_what_cannot_be_is_refused_whole(wrong: Any) -> None:
    with pytest.raises(UnsoundAnswer):
        cells_of(prediction(cell(), wrong), 100, 160)


def test_so_are_more_cells_than_a_field_holds() -> None:
    assert len(cells_of(prediction(*[cell()] * MOST_CELLS), 100, 160)) == MOST_CELLS
    with pytest.raises(UnsoundAnswer, match="more than"):
        cells_of(prediction(*[cell()] * (MOST_CELLS + 1)), 100, 160)


def answering(monkeypatch: pytest.MonkeyPatch, *cells: Any) -> list[Any]:
    """The real predictor, with these cells found in every picture; the scales it was told."""
    whole, scales = Predictor.predict, []

    def predict(self: Predictor, images: list[np.ndarray], batch: int = 16, **more: Any) -> list[Prediction]:
        scales.extend(more["microns_per_pixel"])
        return [dataclasses.replace(said, cells=cells) for said in whole(self, images, batch)]

    monkeypatch.setattr(Predictor, "predict", predict)
    return scales


def test_the_worker_writes_them_and_passes_the_scales_on(
    technician: User, served: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales = answering(monkeypatch, cell())
    submitted_case(technician, images=2)
    SmearImage.objects.filter(position=1).update(microns_per_pixel=0.52)
    work_off()
    assert sorted(scales, key=str) == [0.52, None]
    for run in PredictionRun.objects.all():
        assert (run.state, [entry["label"] for entry in run.cells]) == (RunState.SUCCEEDED, ["blast"])


def test_an_answer_with_unsound_cells_is_not_written(
    technician: User, served: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, cell((150, 0, 50, 50)))
    submitted_case(technician, images=1)
    work_off()
    run = PredictionRun.objects.get()
    assert (run.state, run.cells) == (RunState.FAILED, [])
    assert "outside of the image" in run.error
