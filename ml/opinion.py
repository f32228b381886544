"""A second opinion on a field, from its cells alone.

A network that sees whole fields judges by everything in them, colours and crowding of one laboratory among them.
Where a picture is unlike those it learned from, leukaemia is judged as a haematologist would: find the white cells,
say what each is, count the blasts. The stage, if it is leukaemia, stays with the field network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml.manifest import Manifest
from ml.metrics import Floats


def expected_blasts(cells: Floats, malignant: Sequence[bool]) -> float:
    """How many of the cells are blasts or their like, summed over their probabilities (K, C) of being so."""
    return float(cells[:, np.asarray(malignant, dtype=bool)].sum()) if len(cells) else 0.0


def leukaemia(blasts: float) -> float:
    """Probability 0..1 of leukaemia: its odds are the expected number of blasts in the field."""
    return blasts / (1.0 + blasts)


def replaced(row: Floats, malignant: Sequence[bool], share: float) -> Floats:
    """A field's probabilities (C,) with `share` for leukaemia as a whole; classes keep their proportions within."""
    mask = np.asarray(malignant, dtype=bool)
    found = np.empty(len(row), dtype=np.float64)
    for part, whole in ((mask, share), (~mask, 1.0 - share)):
        mass = row[part].sum()
        found[part] = whole * (row[part] / mass if mass > 0 else 1.0 / max(1, part.sum()))
    return found


def malignant_of(manifest: Manifest) -> list[bool]:
    return [item.malignant for item in manifest.classes]
