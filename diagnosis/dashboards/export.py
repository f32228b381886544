"""A figure's numbers as CSV that a spreadsheet cannot take for formulas."""

import csv
import io
from datetime import date
from typing import Any

from diagnosis.dashboards.figures import Figure

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def harmless(value: Any) -> Any:
    """Text that begins like a formula gets an apostrophe before it; numbers stay numbers."""
    if value is None:
        return ""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, int):
        return value
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)
    return f"'{text}" if text.lstrip(" \u00a0\ufeff").startswith(FORMULA_STARTS) else text


def figure_csv(figure: Figure) -> str:
    """With a byte order mark, without which spreadsheets read UTF-8 as something else."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_MINIMAL)
    writer.writerow([harmless(heading(column.title, column.kind)) for column in figure.columns])
    writer.writerows([harmless(value) for value in row] for row in figure.rows)
    return "\ufeff" + buffer.getvalue()


def heading(title: str, kind: str) -> str:
    units = {"percent": " (share of 1)", "duration": " (seconds)"}
    return title + units.get(kind, "")
