"""Whether what the model sees and says is still what it was: the last third of the days against those before."""

import datetime
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from diagnosis.dashboards.days import periods
from diagnosis.dashboards.filters import Scope
from diagnosis.dashboards.live_sql import DRIFT
from diagnosis.dashboards.sql import rows_of
from diagnosis.dashboards.statistics import stability_by_chance, stability_index
from diagnosis.models import ModelVersion
from diagnosis.states import DriftMeasure, RunState

WATCH, ALARM = 0.1, 0.25
LEAST_IMAGES = 50
Histograms = dict[str, Counter[Any]]
# What the quality check measured; classes and confidence have bins of their own.
IN_TENTHS = (DriftMeasure.STAIN, DriftMeasure.SHARPNESS, DriftMeasure.EXPOSURE)


@dataclass(frozen=True)
class Drift:
    """The index of one measure; `by_chance` is what it may reach without any change."""

    measure: str
    before: int
    after: int
    index: float | None
    by_chance: float | None

    @property
    def title(self) -> str:
        return DriftMeasure(self.measure).label

    @property
    def level(self) -> str:
        """`alarm` and `watch` need an index that chance does not explain."""
        if self.index is None or self.by_chance is None:
            return "too few"
        if self.index <= self.by_chance or self.index < WATCH:
            return "steady"
        return "alarm" if self.index >= ALARM else "watch"


def drifts(version: ModelVersion, scope: Scope) -> list[Drift]:
    """All measures, in the order of DriftMeasure."""
    recent = max(1, scope.days // 3)
    cut = scope.until - datetime.timedelta(days=recent)
    if cut < scope.since:
        return [Drift(measure, 0, 0, None, None) for measure in DriftMeasure.values]
    before, after = _histograms(version, scope, cut)
    return [_drift(measure, before[measure], after[measure]) for measure in DriftMeasure.values]


def _histograms(version: ModelVersion, scope: Scope, cut: datetime.date) -> tuple[Histograms, Histograms]:
    """Of the days up to the cut and of those after it."""
    earlier, later = periods(scope.since, cut), periods(cut + datetime.timedelta(days=1), scope.until)
    asked = {
        "version": str(version.pk),
        "spans": earlier[0] + later[0],
        "days": earlier[1] + later[1],
        "recent": [False] * len(earlier[0]) + [True] * len(later[0]),
    }
    found: tuple[Histograms, Histograms] = (defaultdict(Counter), defaultdict(Counter))
    for row in rows_of(scope, DRIFT, **asked):
        part = found[row["recent"]]
        if row["measure"] != "said":
            part[row["measure"]][row["bin"]] += row["n"]
            continue
        part[DriftMeasure.REFUSAL][row["state"] == RunState.REFUSED] += row["n"]
        if row["state"] == RunState.SUCCEEDED:
            part[DriftMeasure.CLASS_MIX][row["label"]] += row["n"]
            part[DriftMeasure.ABSTENTION][row["abstained"]] += row["n"]
    return found


def _drift(measure: str, before: Counter[Any], after: Counter[Any]) -> Drift:
    n, m = before.total(), after.total()
    if min(n, m) < LEAST_IMAGES:
        return Drift(measure, n, m, None, None)
    if measure in IN_TENTHS:
        before, after = _tenths(before, after)
    bins = sorted(before.keys() | after.keys())
    earlier, later = [before[name] for name in bins], [after[name] for name in bins]
    return Drift(measure, n, m, stability_index(earlier, later), stability_by_chance(n, m, len(bins)))


def _tenths(before: Counter[int], after: Counter[int]) -> tuple[Counter[int], Counter[int]]:
    """Fine bins put together, so that each of the ten holds as many of the earlier images as can be."""
    total, reached = before.total(), 0
    edges: list[int] = []
    for name in sorted(before):
        reached += before[name]
        while len(edges) < 9 and reached >= total * (len(edges) + 1) / 10:
            edges.append(name)
    wide: list[Counter[int]] = []
    for counts in (before, after):
        wide.append(Counter())
        for name, count in counts.items():
            wide[-1][bisect_right(edges, name)] += count
    return wide[0], wide[1]
