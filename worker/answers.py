"""Answers of a model on their way into the database: taken whole and sound, or not at all."""

import math
from typing import Any

from ml.predictor import Prediction

MOST_CELLS = 500


class UnsoundAnswer(ValueError):
    """What the model says cannot be so; the message says why."""


def cells_of(prediction: Prediction, height: int, width: int) -> list[dict[str, Any]]:
    """The cells as PredictionRun keeps them, from a picture of this size; raises UnsoundAnswer."""
    if len(prediction.cells) > MOST_CELLS:
        raise UnsoundAnswer(f"{len(prediction.cells)} cells are more than {MOST_CELLS}")
    return [_cell(cell, height, width) for cell in prediction.cells]


def _cell(cell: Any, height: int, width: int) -> dict[str, Any]:
    x, y, across, down = (float(value) for value in cell.box)
    probability = float(cell.probabilities.get(cell.label, math.nan))
    if not all(map(math.isfinite, (x, y, across, down))):
        raise UnsoundAnswer("a box is not made of numbers")
    if min(x, y) < 0 or min(across, down) <= 0 or x + across > width or y + down > height:
        raise UnsoundAnswer(f"a box lies outside of the image ({width} × {height} pixels)")
    if not 0 <= probability <= 1:
        raise UnsoundAnswer(f"a cell is {cell.label!r} without a probability")
    box = [round(value, 1) for value in (x, y, across, down)]
    return {"box": box, "label": cell.label, "probability": round(probability, 4)}
