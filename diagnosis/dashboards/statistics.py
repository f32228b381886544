"""The few statistics that are computed here rather than by the database."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
Z_999 = 3.090232306167813


@dataclass(frozen=True)
class Share:
    """`part` of `whole` with Wilson's 95 % interval; all None where there is nothing to take a share of."""

    part: int
    whole: int
    value: float | None
    low: float | None
    high: float | None


def wilson(part: int, whole: int) -> Share:
    """Wilson 1927: unlike the textbook interval it holds near 0 and 1 and for few cases, where we are."""
    if not whole:
        return Share(part, whole, None, None, None)
    share = part / whole
    centre = (share + Z**2 / (2 * whole)) / (1 + Z**2 / whole)
    reach = Z / (1 + Z**2 / whole) * math.sqrt(share * (1 - share) / whole + Z**2 / (4 * whole**2))
    return Share(part, whole, share, max(0.0, centre - reach), min(1.0, centre + reach))


def kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa of a square table: agreement beyond what the margins alone would give."""
    total = sum(map(sum, counts))
    if not total:
        return None
    agreed = sum(counts[place][place] for place in range(len(counts))) / total
    columns = [sum(column) for column in zip(*counts, strict=True)]
    by_chance = sum(sum(row) * column for row, column in zip(counts, columns, strict=True)) / total**2
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    """Population stability index of two histograms over the same bins.

    Half a count is added to each bin, so that an empty one does not make it infinite.
    """
    p = [(count + 0.5) / (sum(before) + 0.5 * len(before)) for count in before]
    q = [(count + 0.5) / (sum(after) + 0.5 * len(after)) for count in after]
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


def stability_by_chance(before: int, after: int, bins: int) -> float:
    """The index that one sample in a thousand reaches when nothing has changed.

    Without a change the index is about (1/n + 1/m) times a chi-squared variable with bins - 1 degrees of freedom
    (Yurdakul and Naranjo 2020), whose quantile is taken after Wilson and Hilferty 1931.
    """
    freedom = max(bins - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + Z_999 * math.sqrt(spread)) ** 3
    return quantile * (1 / before + 1 / after)


STEP = 1.1  # each bin of times reaches a tenth further than the one before; another step is another COUNTING


def percentile(bins: Mapping[int, int], share: float) -> float | None:
    """The value below which this share lies, of numbers kept in bins [STEP^b, STEP^(b+1)).

    Interpolates between order statistics as numpy.percentile does, each taken to lie in its bin by its rank there;
    so the answer is off by less than the width of a bin, one tenth.
    """
    total = sum(bins.values())
    if not total:
        return None
    rank = share * (total - 1)
    low, high = _ranked(bins, math.floor(rank)), _ranked(bins, math.ceil(rank))
    return low + (high - low) * (rank - math.floor(rank))


def _ranked(bins: Mapping[int, int], rank: int) -> float:
    before = 0
    for place in sorted(bins):
        if rank < before + bins[place]:
            return float(STEP ** (place + (rank - before + 0.5) / bins[place]))
        before += bins[place]
    raise IndexError(rank)


MOST_EXACT = 1000


def mcnemar(one: int, other: int) -> float | None:
    """Two-sided p that two classifiers which differ on these images are right equally often (McNemar 1947).

    Exact up to a thousand differences, from there the chi-squared approximation with continuity correction.
    """
    total = one + other
    if not total:
        return None
    if total <= MOST_EXACT:
        tail = sum(math.comb(total, k) for k in range(min(one, other) + 1))
        return min(1.0, 2 * tail / 2**total)
    return math.erfc(max(0.0, abs(one - other) - 1) / math.sqrt(2 * total))
