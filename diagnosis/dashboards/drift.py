"""Whether what the model sees and says is still what it was: the last third of the days against those before."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from diagnosis.dashboards.filters import Scope
from diagnosis.dashboards.live_sql import DRIFT, SIGNED
from diagnosis.dashboards.sql import rows_of
from diagnosis.dashboards.statistics import stability_by_chance, stability_index
from diagnosis.models import ModelVersion
from diagnosis.states import DriftMeasure

WATCH, ALARM = 0.1, 0.25
LEAST_IMAGES = 50


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
    parameters = scope.parameters()
    cut = parameters["end"] - (parameters["end"] - parameters["start"]) / 3
    more: dict[str, Any] = {"version": str(version.pk), "cut": cut}
    counts: dict[str, dict[bool, dict[str, int]]] = defaultdict(lambda: {False: {}, True: {}})
    for row in rows_of(scope, SIGNED, DRIFT, **more):
        counts[row["measure"]][row["recent"]][row["bin"]] = row["n"]
    return [_drift(measure, counts[measure][False], counts[measure][True]) for measure in DriftMeasure.values]


def _drift(measure: str, before: dict[str, int], after: dict[str, int]) -> Drift:
    bins = sorted(before.keys() | after.keys())
    earlier, later = [before.get(name, 0) for name in bins], [after.get(name, 0) for name in bins]
    n, m = sum(earlier), sum(later)
    if min(n, m) < LEAST_IMAGES:
        return Drift(measure, n, m, None, None)
    return Drift(measure, n, m, stability_index(earlier, later), stability_by_chance(n, m, len(bins)))
