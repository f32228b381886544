"""The white cells of a field, each typed by a single-cell model at the scale that model learned at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml import cells, scale
from ml.cells import FoundCell, usual_diameter
from ml.preprocessing import background_neutralisation

if TYPE_CHECKING:
    from ml.predictor import Predictor

MOST = 200
MICRONS = 21.0


def typed(
    picture: np.ndarray, typist: Predictor, microns_per_pixel: float | None, assumed: float | None = None
) -> list[FoundCell]:
    """The cells of a decoded field, uint8 RGB (H, W, 3), from top to bottom; at most the MOST largest nuclei.

    Every cell is cut out MICRONS wide, so that small cells look small. Where the scale is not known it is told from
    the nuclei, and where these are too few it is `assumed`. Single-cell pictures of training are wider, about 35 µm;
    the closer cut makes lymphoblasts, smaller than the myeloblasts learned from, look more like blasts.
    """
    nuclei = sorted(cells.find(picture), key=lambda nucleus: -nucleus.diameter)[:MOST]
    nuclei.sort(key=lambda nucleus: (nucleus.box.y, nucleus.box.x))
    if not nuclei:
        return []
    pixel = microns_per_pixel or scale.estimate(nuclei) or assumed or scale.NUCLEUS_MICRONS / usual_diameter(nuclei)
    side = MICRONS / pixel
    even = background_neutralisation(picture)
    rows = typist.probabilities([cells.crop(even, nucleus, side / nucleus.diameter) for nucleus in nuclei])
    codes = typist.manifest.codes
    return [
        FoundCell(
            nucleus.box,
            codes[int(row.argmax())],
            {code: float(value) for code, value in zip(codes, row, strict=True)},
        )
        for nucleus, row in zip(nuclei, rows, strict=True)
    ]
