"""One bar as a row, and the rows as a table."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One bar. `met` is None where this machine cannot tell."""

    name: str
    baseline: float | None
    ours: float | None
    ratio: float | None
    bar: str
    met: bool | None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def ratio_row(name: str, baseline: float, ours: float, bar: float, note: str) -> Row:
    ratio = ours / baseline
    return Row(name, baseline, ours, ratio, f"ratio ≥ {bar:g}", ratio >= bar, note)


def table(rows: list[Row]) -> list[str]:
    """For a terminal."""
    said = {True: "met", False: "MISSED", None: "open"}
    lines = [f"{'':<58} {'baseline':>9} {'ours':>9} {'ratio':>7}  {'':<7} bar"]
    for row in rows:
        figures = [f"{value:.3g}" if value is not None else "-" for value in (row.baseline, row.ours, row.ratio)]
        columns = f"{row.name:<58} {figures[0]:>9} {figures[1]:>9} {figures[2]:>7}  {said[row.met]:<7}"
        lines.append(f"{columns} {row.bar} ({row.note})")
    return lines
