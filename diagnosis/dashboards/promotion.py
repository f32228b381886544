"""A version beside the one that serves: the same images of signed cases, and what each was evaluated at.

Readers saw what the serving version said, never what the other did, so what they read with a prediction in view leans
towards the serving one. Images read before the reveal are the fair part, and the checks rest on those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from diagnosis.dashboards.evaluation import OVERALL, evaluation_of
from diagnosis.dashboards.figures import Column, Figure, Row, shown
from diagnosis.dashboards.filters import Scope
from diagnosis.dashboards.live_sql import IMAGES
from diagnosis.dashboards.sql import PERIODS, rows_of
from diagnosis.dashboards.statistics import Z, mcnemar
from diagnosis.models import ModelVersion
from diagnosis.states import ModelStatus, ReadingStage, RunState

LEAST_COMPARED = 200
MARGIN = 0.02


@dataclass(frozen=True)
class Comparison:
    """Images that both versions looked at and somebody read as a class; `only_` counts where one alone was right."""

    images: int = 0
    same: int = 0
    both: int = 0
    only_other: int = 0
    only_serving: int = 0
    missed_by_other: int = 0
    missed_by_serving: int = 0

    @property
    def other_right(self) -> float | None:
        return (self.both + self.only_other) / self.images if self.images else None

    @property
    def serving_right(self) -> float | None:
        return (self.both + self.only_serving) / self.images if self.images else None

    @property
    def by_chance(self) -> float | None:
        """How often chance alone would part them so far."""
        return mcnemar(self.only_other, self.only_serving)

    @property
    def difference(self) -> tuple[float, float, float] | None:
        """Share right of the other less that of the serving, with its paired 95 % interval (Wald)."""
        if not self.images:
            return None
        differ, lead = self.only_other + self.only_serving, self.only_other - self.only_serving
        gap = lead / self.images
        reach = Z * (differ - lead**2 / self.images) ** 0.5 / self.images
        return gap, gap - reach, gap + reach


def comparisons(
    version: ModelVersion, looked: Sequence[Mapping[str, Any]]
) -> dict[tuple[UUID, UUID], dict[str, Comparison]]:
    """By (other, serving) version, of which this is one: over all images and over those read before the reveal.

    `looked` are the lines of live_sql.IMAGES.
    """
    pairs: dict[tuple[UUID, UUID], list[Mapping[str, Any]]] = {}
    for row in looked:
        if row["beside"] is not None and row["state"] in (RunState.SUCCEEDED, RunState.REFUSED):
            pairs.setdefault((row["version"], row["beside"]), []).append(row)
    malignant = {entry["code"]: bool(entry.get("malignant")) for entry in version.classes}
    return {
        pair: {
            "all": _compared(rows, malignant),
            "own": _compared([row for row in rows if row["stage"] == ReadingStage.OWN], malignant),
        }
        for pair, rows in pairs.items()
    }


def _compared(rows: Sequence[Mapping[str, Any]], malignant: Mapping[str, bool]) -> Comparison:
    read = [row for row in rows if row["finding"] in malignant]

    def count(*holds: bool) -> int:
        return sum(row["images"] for row, yes in zip(read, holds, strict=True) if yes)

    other = [row["label"] == row["finding"] for row in read]
    serving = [row["beside_label"] == row["finding"] for row in read]
    pairs = list(zip(other, serving, strict=True))
    return Comparison(
        images=count(*[True] * len(read)),
        same=count(*[row["label"] == row["beside_label"] for row in read]),
        both=count(*[a and b for a, b in pairs]),
        only_other=count(*[a and not b for a, b in pairs]),
        only_serving=count(*[b and not a for a, b in pairs]),
        missed_by_other=count(*[_missed(row["label"], row["finding"], malignant) for row in read]),
        missed_by_serving=count(*[_missed(row["beside_label"], row["finding"], malignant) for row in read]),
    )


def _missed(label: str, finding: str, malignant: Mapping[str, bool]) -> bool:
    """Read as malignant and called benign; an image that was refused was not called anything."""
    return malignant[finding] and label in malignant and not malignant[label]


def side_by_side(found: Mapping[tuple[UUID, UUID], Mapping[str, Comparison]], names: Mapping[UUID, str]) -> Figure:
    parts = {"own": "read before the reveal", "all": "all"}
    rows: list[Row] = [
        (
            names.get(other, str(other)),
            names.get(serving, str(serving)),
            title,
            made.images,
            made.same,
            made.both,
            made.only_other,
            made.only_serving,
            made.other_right,
            made.serving_right,
            made.by_chance,
            made.missed_by_other,
            made.missed_by_serving,
        )
        for (other, serving), by_part in found.items()
        for part, title in parts.items()
        if (made := by_part[part])
    ]
    return Figure(
        key="side-by-side",
        title="On the same images as the version that served",
        read=(
            "Where only one of the two was right, they differ; images read before the reveal are the fair comparison, "
            "because readers saw what the serving version said."
        ),
        columns=(
            Column("Version"),
            Column("Served"),
            Column("Images read"),
            Column("Compared", "count"),
            Column("Same class", "count"),
            Column("Both right", "count"),
            Column("Only it right", "count"),
            Column("Only served right", "count"),
            Column("It was right", "percent"),
            Column("Served was right", "percent"),
            Column("By chance (McNemar)", "number"),
            Column("Malignant missed by it", "count"),
            Column("Malignant missed by served", "count"),
        ),
        rows=rows,
        note=""
        if rows
        else "No other version looked at images of these days; a shadow version does, and manage.py reclassify.",
        wide=True,
    )


@dataclass(frozen=True)
class Check:
    """One thing to be known before a version is activated; `met` is None while it cannot be told."""

    question: str
    found: str
    met: bool | None


@dataclass(frozen=True)
class Promotion:
    """What speaks for and against letting a version serve in place of another."""

    serving: ModelVersion | None
    checks: list[Check]
    figures: list[Figure]


def promotion_of(version: ModelVersion, scope: Scope) -> Promotion:
    serving = ModelVersion.objects.filter(task=version.task, status=ModelStatus.ACTIVE).exclude(pk=version.pk).first()
    if serving is None:
        return Promotion(None, [], [])
    pair = (version.pk, serving.pk)
    looked = rows_of(scope, PERIODS, IMAGES, version=str(version.pk))
    found = {key: parts for key, parts in comparisons(version, looked).items() if key == pair}
    names = {version.pk: str(version), serving.pk: str(serving)}
    evaluated, macro = _evaluated(version, serving)
    checks = [*_seen(found[pair] if found else {"own": Comparison(), "all": Comparison()}), macro]
    return Promotion(serving, checks, [side_by_side(found, names), *([evaluated] if evaluated else [])])


def _seen(parts: Mapping[str, Comparison]) -> list[Check]:
    fair, every = parts["own"], parts["all"]
    enough = fair.images >= LEAST_COMPARED
    gap = fair.difference
    told = "–" if gap is None else "{:+.1f} points ({:+.1f} to {:+.1f})".format(*(100 * edge for edge in gap))
    return [
        Check(f"At least {LEAST_COMPARED} images compared that were read before the reveal", str(fair.images), enough),
        Check(
            f"Right about as often there: the interval of the difference lies above −{100 * MARGIN:.0f} points",
            told.replace("-", "−"),
            gap[1] >= -MARGIN if gap and enough else None,
        ),
        Check(
            "Calls no more malignant images benign, over all images",
            f"{every.missed_by_other} against {every.missed_by_serving} of {every.images}",
            every.missed_by_other <= every.missed_by_serving if every.images >= LEAST_COMPARED else None,
        ),
    ]


def _evaluated(version: ModelVersion, serving: ModelVersion) -> tuple[Figure | None, Check]:
    """Both reports under the first protocol they share."""
    question = "Evaluated at a macro F1 no lower, under the same protocol"
    pair = [evaluation_of(version), evaluation_of(serving)]
    reports = [{str(p.get("name")): p for p in found.protocols} if found else {} for found in pair]
    shared = next((name for name in reports[0] if name in reports[1]), None)
    if shared is None:
        return None, Check(question, "no protocol in common", None)
    overall = [report[shared].get("overall") or {} for report in reports]
    rows: list[Row] = [
        (title, *[(part.get(key) or {}).get(edge) for part in overall for edge in ("value", "low", "high")])
        for key, title in OVERALL.items()
        if any(part.get(key) for part in overall)
    ]
    edges = ("", ", from", ", to")
    figure = Figure(
        key="evaluated",
        title=f"As evaluated, {shared}",
        read="Intervals that overlap say that the images of the evaluation cannot tell the two apart.",
        columns=(
            Column("Figure"),
            *(Column(f"{name}{edge}", "percent") for name in ("It", "Served") for edge in edges),
        ),
        rows=rows,
        wide=True,
    )
    macro = [(part.get("macro_f1") or {}).get("value") for part in overall]
    met = None if macro[0] is None or macro[1] is None else macro[0] >= macro[1]
    return figure, Check(question, f"{shown(macro[0], 'percent')} against {shown(macro[1], 'percent')}", met)
