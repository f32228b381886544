"""The white cells of a field, each typed by a single-cell model at the scale that model learned at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml import cells
from ml.cells import FoundCell
from ml.preprocessing import background_neutralisation

if TYPE_CHECKING:
    from ml.predictor import Predictor

MOST = 200
DIAMETERS = 2.6


def typed(picture: np.ndarray, typist: Predictor) -> list[FoundCell]:
    """The cells of a decoded field, uint8 RGB (H, W, 3), from top to bottom; at most the MOST largest nuclei."""
    nuclei = sorted(cells.find(picture), key=lambda nucleus: -nucleus.diameter)[:MOST]
    nuclei.sort(key=lambda nucleus: (nucleus.box.y, nucleus.box.x))
    if not nuclei:
        return []
    even = background_neutralisation(picture)
    rows = typist.probabilities([cells.crop(even, nucleus, DIAMETERS) for nucleus in nuclei])
    codes = typist.manifest.codes
    return [
        FoundCell(
            nucleus.box,
            codes[int(row.argmax())],
            {code: float(value) for code, value in zip(codes, row, strict=True)},
        )
        for nucleus, row in zip(nuclei, rows, strict=True)
    ]
