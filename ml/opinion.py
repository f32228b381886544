"""A second opinion on a field, from its cells alone.

A network that sees whole fields judges by everything in them, colours and crowding of one laboratory among them.
Where a picture is unlike those it learned from, leukaemia is judged as a haematologist would: find the white cells,
say what each is, count the blasts. The farther the picture is from what the network knows, the more the cells count.
The stage, if it is leukaemia, stays with the field network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml.manifest import Manifest
from ml.metrics import Floats

LEAST = 1e-3


def expected_blasts(cells: Floats, malignant: Sequence[bool]) -> float:
    """How many of the cells are blasts or their like, summed over their probabilities (K, C) of being so."""
    return float(cells[:, np.asarray(malignant, dtype=bool)].sum()) if len(cells) else 0.0


def leukaemia(blasts: float) -> float:
    """Probability 0..1 of leukaemia: its odds are the expected number of blasts in the field."""
    return blasts / (1.0 + blasts)


def combined(row: Floats, malignant: Sequence[bool], share: float, distance: float, limit: float) -> Floats:
    """A field's probabilities (C,) with leukaemia judged by network and cells together: a weighted mean of log odds.

    `share` is the cells' probability of leukaemia; they count half at the `limit` of what is familiar, and more the
    greater the `distance` is.
    """
    own = float(np.clip(row[np.asarray(malignant, dtype=bool)].sum(), LEAST, 1 - LEAST))
    other = float(np.clip(share, LEAST, 1 - LEAST))
    weight = 1.0 - limit / (2.0 * max(distance, limit))
    odds = (1 - weight) * np.log(own / (1 - own)) + weight * np.log(other / (1 - other))
    return replaced(row, malignant, float(1.0 / (1.0 + np.exp(-odds))))


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
