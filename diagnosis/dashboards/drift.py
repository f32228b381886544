"""Whether what the model sees and says is still what it was: the last third of the days against those before."""

import datetime
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

from diagnosis.dashboards.filters import Scope
from diagnosis.dashboards.live_sql import MEASURED, PERIODS, SAID
from diagnosis.dashboards.sql import rows_of
from diagnosis.dashboards.statistics import stability_by_chance, stability_index
from diagnosis.models import ModelVersion
from diagnosis.states import DriftMeasure, RunState

WATCH, ALARM = 0.1, 0.25
LEAST_IMAGES = 50
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
    parts = (replace(scope, until=cut), replace(scope, since=cut + datetime.timedelta(days=1)))
    before, after = (_histograms(version, part) for part in parts)
    return [_drift(measure, before[measure], after[measure]) for measure in DriftMeasure.values]


def _histograms(version: ModelVersion, scope: Scope) -> dict[str, Counter[Any]]:
    found: dict[str, Counter[Any]] = defaultdict(Counter)
    asked = {"version": str(version.pk)}
    for row in rows_of(scope, PERIODS, SAID, **asked):
        found["refusal"][row["state"] == RunState.REFUSED] += row["n"]
        if row["state"] == RunState.SUCCEEDED:
            found["class"][row["label"]] += row["n"]
            found["abstention"][row["abstained"]] += row["n"]
    for row in rows_of(scope, PERIODS, MEASURED, **asked):
        found[row["measure"]][row["bin"]] += row["n"]
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
