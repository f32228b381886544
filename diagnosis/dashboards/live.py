"""Live performance: one model version against what was signed."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import TextChoices

from diagnosis.dashboards.charts import evaluation as evaluation_charts
from diagnosis.dashboards.charts import live as charts
from diagnosis.dashboards.days import periods
from diagnosis.dashboards.drift import ALARM, LEAST_IMAGES, WATCH, Drift, drifts
from diagnosis.dashboards.figures import Column, Figure, Group, Row, confusion_table
from diagnosis.dashboards.filters import Scope
from diagnosis.dashboards.live_sql import CASES, IMAGES, OVERRIDE_REASONS, WEEKS
from diagnosis.dashboards.promotion import comparisons, side_by_side
from diagnosis.dashboards.sql import PERIODS, rows_of
from diagnosis.dashboards.statistics import Share, kappa, wilson
from diagnosis.models import ModelVersion, Reading
from diagnosis.states import Flip, ReadingDecision, ReadingStage, Revealed, RunState

REASON_LEAST = 3
SHARE_COLUMNS = (
    Column("Of", "count"),
    Column("Agreed", "count"),
    Column("Share", "percent"),
    Column("From", "percent"),
    Column("To", "percent"),
)
Cube = Sequence[Mapping[str, Any]]


def live_groups(version: ModelVersion, scope: Scope, names: Mapping[UUID, str] | None = None) -> list[Group]:
    """`names` are those of all versions, for the one figure that shows several."""
    asked = {"version": str(version.pk)}
    looked, cases = rows_of(scope, PERIODS, IMAGES, **asked), rows_of(scope, PERIODS, CASES, **asked)
    images = [row for row in looked if row["version"] == version.pk]
    if not looked and not cases:
        return []
    reasons = rows_of(scope, PERIODS, OVERRIDE_REASONS, least=REASON_LEAST, **asked)
    return [
        Group(
            "agreement",
            "Does it agree with the signed readings",
            [
                concordance(images, cases),
                confusion(version, images),
                concordance_by_week(version, scope),
                outcomes(images),
            ],
        ),
        Group(
            "influence",
            "What seeing it does to readers",
            [after_reveal(cases), flips(cases), overrides(images, cases), override_reasons(reasons)],
        ),
        Group("drift", "Is it still looking at the same kind of images", [drift(drifts(version, scope))]),
        _beside(side_by_side(comparisons(version, looked), names or {})),
    ]


def _beside(figure: Figure) -> Group:
    """The comparison, or why there is none."""
    title = "Would another version do better"
    return Group("beside", title, [figure]) if figure.rows else Group("beside", title, [], note=figure.note)


def _count(rows: Iterable[Mapping[str, Any]], key: str, keep: Callable[[Mapping[str, Any]], bool]) -> int:
    return sum(row[key] for row in rows if keep(row))


def _read(images: Cube) -> list[Mapping[str, Any]]:
    """Predicted images whose signed reading is a class, so that the two can agree or differ."""
    no_class = ("", *Reading.GENERAL_CODES)
    return [row for row in images if row["state"] == RunState.SUCCEEDED and row["finding"] not in no_class]


def _agreement(rows: Cube) -> Share:
    agreed = _count(rows, "images", lambda row: row["label"] == row["finding"])
    return wilson(agreed, _count(rows, "images", lambda row: True))


def concordance(images: Cube, cases: Cube) -> Figure:
    read = _read(images)
    certain = [row for row in read if not row["abstained"]]

    def concluded(*own_first: bool) -> Share:
        rows = [row for row in cases if row["classed"] and row["own_read_first"] in own_first]
        return wilson(_count(rows, "cases", lambda row: row["agreed"]), _count(rows, "cases", lambda row: True))

    def stage(wanted: ReadingStage) -> list[Mapping[str, Any]]:
        return [row for row in read if row["stage"] == wanted]

    shares = {
        "Cases, all": concluded(True, False),
        "Cases, own read entered first": concluded(True),
        "Cases, prediction seen at once": concluded(False),
        "Images, all": _agreement(read),
        "Images, without the uncertain": _agreement(certain),
        "Images read before the reveal": _agreement(stage(ReadingStage.OWN)),
        "Images read with the prediction in view": _agreement(stage(ReadingStage.INFORMED)),
    }
    known = {name: share for name, share in shares.items() if share.whole}
    return Figure(
        key="concordance",
        title="Concordance with the signed reading",
        read=(
            "How often prediction and signed reading are the same class; what was read before the reveal is the "
            "honest comparison, since who has seen a prediction tends to agree with it."
        ),
        columns=(Column("Compared"), *SHARE_COLUMNS),
        rows=[(name, share.whole, share.part, share.value, share.low, share.high) for name, share in shares.items()],
        chart=charts.shares(known) if known else None,
        note="Intervals after Wilson. Images of one case are alike, so the intervals of images are too narrow.",
    )


def confusion(version: ModelVersion, images: Cube) -> Figure:
    titles = {entry["code"]: entry["title"] for entry in version.classes}
    predicted = [row for row in images if row["state"] == RunState.SUCCEEDED and row["finding"]]
    cells = Counter[tuple[str, str]]()
    for row in predicted:
        cells[row["finding"], row["label"]] += row["images"]
    general = [(code, title) for code, title in Reading.GENERAL_FINDINGS if any(key[0] == code for key in cells)]
    down = [*titles.items(), *general]
    counts = [[cells[code, said] for said in titles] for code, _ in down]
    agreement = kappa(counts[: len(titles)])
    columns, rows = confusion_table([title for _, title in down], list(titles.values()), counts, down="Signed reading")
    return Figure(
        key="confusion",
        title="Predicted against signed, by image",
        read="Each row is what was signed: the share on the diagonal was predicted so, the rest where it stands.",
        columns=columns,
        rows=rows,
        chart=evaluation_charts.confusion(
            counts, list(titles.values()), [title for _, title in down], "Predicted", "Signed"
        ),
        note="" if agreement is None else f"Cohen's kappa over the classes {agreement:.2f}.",
    )


def concordance_by_week(version: ModelVersion, scope: Scope) -> Figure:
    spans, days = periods(scope.since, scope.until, longest=7)
    asked: dict[str, Any] = {"spans": spans, "days": days, "general": list(Reading.GENERAL_CODES)}
    rows = rows_of(scope, PERIODS, WEEKS, version=str(version.pk), **asked)
    weeks = [row["week"] for row in rows]
    shares = [wilson(row["agreed"], row["images"]) for row in rows]
    return Figure(
        key="concordance-by-week",
        title="Concordance week by week",
        read="A week whose interval lies below the others is worth a look at its cases.",
        columns=(Column("Week of"), *SHARE_COLUMNS),
        rows=[
            (week, share.whole, share.part, share.value, share.low, share.high)
            for week, share in zip(weeks, shares, strict=True)
        ],
        chart=charts.by_week(weeks, shares) if weeks else None,
    )


def outcomes(images: Cube) -> Figure:
    total = _count(images, "images", lambda row: True)
    kinds = {
        "Predicted": lambda row: row["state"] == RunState.SUCCEEDED and not row["abstained"],
        "Predicted, marked uncertain": lambda row: row["state"] == RunState.SUCCEEDED and row["abstained"],
        "Refused": lambda row: row["state"] == RunState.REFUSED,
        "Failed": lambda row: row["state"] == RunState.FAILED,
    }
    shares = {name: wilson(_count(images, "images", keep), total) for name, keep in kinds.items()}
    return Figure(
        key="outcomes",
        title="What the model made of the images",
        read="The more is uncertain or refused, the less the model helps, however right the rest is.",
        columns=(Column("Outcome"), Column("Images", "count"), Column("Share", "percent")),
        rows=[(name, share.part, share.value) for name, share in shares.items()],
    )


def _by_kind(cases: Cube, key: str, kinds: type[TextChoices]) -> list[tuple[str, int, float | None]]:
    """Title, cases and share of each kind."""
    counts = Counter[str]()
    for row in cases:
        counts[row[key]] += row["cases"]
    total = sum(counts[kind] for kind in kinds.values)
    return [(title, counts[kind], counts[kind] / total if total else None) for kind, title in kinds.choices]


def after_reveal(cases: Cube) -> Figure:
    """What became of the first reader's own read once the suggestion was seen."""
    rows = _by_kind(cases, "revealed", Revealed)
    known = any(row[1] for row in rows)
    return Figure(
        key="after-reveal",
        title="Own read, then the suggestion",
        read="How often readers kept or left their own read once they saw the suggestion, right or wrong.",
        columns=(Column("What happened"), Column("Cases", "count"), Column("Share", "percent")),
        rows=rows,
        chart=charts.ranked([row[0] for row in rows], [row[1] for row in rows]) if known else None,
        note="" if known else "No case of these days has an own read and a suggestion.",
    )


def flips(cases: Cube) -> Figure:
    """Against what another reader or an amendment settled: only there is right and wrong known apart from the read."""
    return Figure(
        key="flips",
        title="Flips after the reveal",
        read="Wrong → right is what the model gives, right → wrong what it takes: the first must outweigh the second.",
        columns=(Column("First reader"), Column("Cases", "count"), Column("Share", "percent")),
        rows=_by_kind(cases, "flip", Flip),
        note=(
            "Over cases with a second read or an amended report, whose finding counts as right; in the others the "
            "signed reading is the reader's own and proves nothing."
        ),
    )


def overrides(images: Cube, cases: Cube) -> Figure:
    def rate(rows: Cube, key: str) -> Share:
        decided = [row for row in rows if row["decision"] in (ReadingDecision.AGREE, ReadingDecision.OVERRIDE)]
        over = _count(decided, key, lambda row: row["decision"] == ReadingDecision.OVERRIDE)
        return wilson(over, _count(decided, key, lambda row: True))

    shares = {"Cases": rate(cases, "cases"), "Images": rate([r for r in images if r["label"]], "images")}
    return Figure(
        key="overrides",
        title="Override rate",
        read="Of the suggestions that were in view, how many the reader decided against.",
        columns=(
            Column("What"),
            Column("Decided with it in view", "count"),
            Column("Overridden", "count"),
            Column("Share", "percent"),
            Column("From", "percent"),
            Column("To", "percent"),
        ),
        rows=[(name, share.whole, share.part, share.value, share.low, share.high) for name, share in shares.items()],
    )


def override_reasons(reasons: Cube) -> Figure:
    rows: list[Row] = [
        (row["reason"] or f"(each given fewer than {REASON_LEAST} times)", row["overrides"]) for row in reasons
    ]
    return Figure(
        key="override-reasons",
        title="Why images were overridden",
        read="The reasons readers gave most often; the same reason again and again is something to teach the model.",
        columns=(Column("Reason"), Column("Overrides", "count")),
        rows=rows,
        note="A rare reason may name a patient, so it is counted but not quoted." if rows else "None in these days.",
    )


def drift(found: Sequence[Drift]) -> Figure:
    known = [entry for entry in found if entry.index is not None]
    return Figure(
        key="drift",
        title="Drift",
        read=(
            f"The population stability index compares the last third of the days with those before: up to {WATCH} is "
            f"steady, from {ALARM} on an alarm, if chance alone does not reach as far."
        ),
        columns=(
            Column("Measure"),
            Column("Images before", "count"),
            Column("Images after", "count"),
            Column("Index", "number"),
            Column("By chance up to", "number"),
            Column("Verdict"),
        ),
        rows=[(entry.title, entry.before, entry.after, entry.index, entry.by_chance, entry.level) for entry in found],
        chart=charts.drift(known, WATCH, ALARM) if known else None,
        note="" if known else f"Needs at least {LEAST_IMAGES} images of signed cases before and after.",
        wide=True,
    )
