"""A figure: one table of numbers, perhaps a drawing of it, and how to read it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import plotly.graph_objects as go

Kind = Literal["text", "count", "percent", "number", "duration"]
Row = Sequence[Any]

MISSING = "–"


@dataclass(frozen=True)
class Column:
    """`percent` cells are shares of 1, `duration` cells are seconds."""

    title: str
    kind: Kind = "text"

    @property
    def numeric(self) -> bool:
        return self.kind != "text"


@dataclass(frozen=True)
class Cell:
    text: str
    numeric: bool


@dataclass(frozen=True)
class Figure:
    """`key` names it in the URL of its CSV; `read` is the one sentence that says how to read it."""

    key: str
    title: str
    read: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    chart: go.Figure | None = None
    note: str = ""
    wide: bool = False

    @property
    def plot_id(self) -> str:
        return f"{self.key}-plot"

    @property
    def chart_json(self) -> str:
        return self.chart.to_json() if self.chart is not None else ""

    @property
    def cells(self) -> list[list[Cell]]:
        return [
            [Cell(shown(value, column.kind), column.numeric) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]


@dataclass(frozen=True)
class Group:
    """Figures that answer one question, and what would belong to the answer but was not measured."""

    key: str
    title: str
    figures: list[Figure]
    missing: tuple[str, ...] = ()
    note: str = ""


def shown(value: Any, kind: Kind) -> str:
    """A cell as people read it; what is not defined is a dash."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, date):
        return f"{value.day} {value:%b %Y}"
    if kind == "percent":
        return f"{100 * value:.1f} %"
    if kind == "duration":
        return duration(value)
    if kind == "number":
        return "< 0.001" if 0 < value < 0.0005 else f"{value:.3f}"
    if kind == "count":
        return f"{value:,.0f}".replace(",", "\u202f")
    return str(value)


def duration(seconds: float) -> str:
    """The two largest units that matter: 42 s, 3 min 20 s, 5 h 12 min, 3 d 4 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for name, size in units:
        if parts or left >= size:
            parts.append((left // size, name))
            left %= size
    return " ".join(f"{number} {name}" for number, name in parts[:2] if number)


def confusion_table(
    truths: Sequence[str], said: Sequence[str], counts: Sequence[Sequence[int]], *, down: str, right: bool = False
) -> tuple[tuple[Column, ...], list[Row]]:
    """Columns and rows of counts and, beside them, of shares of each row; `right` adds the diagonal's.

    Args:
        truths: title of each row; those of `said` come first, in the same order.
        said: title of each column.
        counts: images, a row for each truth.
        down: what the rows are.
        right: whether the share of right answers has a column of its own.
    """
    columns = (
        Column(down),
        *(Column(f"Predicted {title}", "count") for title in said),
        Column("All", "count"),
        *((Column("Right", "percent"),) if right else ()),
        *(Column(f"Predicted {title}, of the row", "percent") for title in said),
    )
    rows: list[Row] = []
    for place, (truth, row) in enumerate(zip(truths, counts, strict=True)):
        shares = [count / sum(row) if sum(row) else None for count in row]
        rows.append((truth, *row, sum(row), *([shares[place]] if right else []), *shares))
    return columns, rows
