"""What the predictions of one case say taken together. Numbers only: neither torch nor Django.

A case is one smear. Of fields the calibrated probabilities are averaged; single cells are counted, as a differential.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
RESAMPLES = 2000
SEED = 20

# Broken nuclei and platelets are no white cells; where laboratories count white cells, they leave both out.
NOT_COUNTED = frozenset({"smudge_cell", "platelet"})
# In blood they are reported per hundred white cells, beside the differential; in marrow they belong to it.
NOT_COUNTED_IN_BLOOD = frozenset({"erythroblast"})
# Malignant classes that are blasts. Promyelocytes, for one, are not: they are blast equivalents in one disease alone.
BLASTS = frozenset({"blast", "lymphoblast", "myeloblast", "monoblast", "ALL", "AML"})


@dataclass(frozen=True)
class PooledFields:
    """Mean probability of each class over the fields, 0..1; `low` and `high` are its 95 % interval, or None."""

    mean: Floats
    low: Floats | None
    high: Floats | None


def pool_fields(probabilities: Floats) -> PooledFields:
    """Pool calibrated probabilities (fields, classes), 0..1, at least one field; the order of fields does not matter.

    The interval is the percentile bootstrap over fields, with a fixed seed: how far the mean would move if other
    fields of this smear had been photographed, as alike or as different as these are among themselves. It holds
    nothing of what is wrong with all of them at once: the stain, the camera, or the model. With one field there is no
    interval, because nothing is known of how fields differ; with fewer than about five it is too narrow.
    """
    rows = np.asarray(probabilities, np.float64)
    rows = rows[np.lexsort(rows.T)]
    mean = rows.mean(axis=0)
    if len(rows) < 2:
        return PooledFields(mean, None, None)
    drawn = np.random.default_rng(SEED).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLES)
    low, high = np.quantile(drawn @ rows / len(rows), (0.025, 0.975), axis=0)
    # A mean that no resample reaches on one side would lie outside by rounding alone.
    return PooledFields(mean, np.minimum(low, mean), np.maximum(high, mean))


@dataclass(frozen=True)
class Share:
    """`count` cells as a share of the cells counted, 0..1, with Wilson's 95 % interval."""

    count: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """The share of several classes together, named by their codes."""

    codes: tuple[str, ...]
    share: Share


@dataclass(frozen=True)
class Differential:
    """`cells` is the denominator; `beside` are the cells outside of it by class code. Without cells, no shares.

    `images`: in how many pictures of several cells each they were found; None where every picture is one cell.
    """

    cells: int
    classes: dict[str, Share]
    beside: dict[str, int]
    blasts: Group | None
    malignant: Group | None
    images: int | None = None


def differential(
    labels: Sequence[str],
    *,
    classes: Sequence[str],
    malignant: Collection[str],
    marrow: bool,
    images: int | None = None,
) -> Differential:
    """Count cells by class code. Labels that are none of `classes` are not cells of this task and are left out.

    `blasts` counts the classes that are blasts by name (BLASTS), `malignant` every class the model calls malignant;
    both say which classes these are. The intervals are for chance alone, as if each cell had been typed rightly.
    """
    aside = NOT_COUNTED if marrow else NOT_COUNTED | NOT_COUNTED_IN_BLOOD
    found = Counter(label for label in labels if label in classes)
    counted = [code for code in classes if code not in aside]
    cells = sum(found[code] for code in counted)
    return Differential(
        cells=cells,
        classes={code: share_of(found[code], cells) for code in counted} if cells else {},
        beside={code: found[code] for code in classes if code in aside and found[code]},
        blasts=group(found, [code for code in counted if code in malignant and code in BLASTS], cells),
        malignant=group(found, [code for code in counted if code in malignant], cells),
        images=images,
    )


def group(found: Counter[str], codes: Sequence[str], cells: int) -> Group | None:
    if not codes or not cells:
        return None
    return Group(tuple(codes), share_of(sum(found[code] for code in codes), cells))


def share_of(part: int, whole: int) -> Share:
    """Wilson 1927: unlike the textbook interval it holds near 0 and 1 and for few cells. `whole` is at least 1."""
    share = part / whole
    centre = (share + Z**2 / (2 * whole)) / (1 + Z**2 / whole)
    reach = Z / (1 + Z**2 / whole) * math.sqrt(share * (1 - share) / whole + Z**2 / (4 * whole**2))
    return Share(part, share, max(0.0, min(share, centre - reach)), min(1.0, max(share, centre + reach)))
