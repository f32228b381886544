"""What all drawings share."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

ACCENT = "#7a6fd6"
NEUTRAL = "#8a8a8a"
OTHER_COLOUR = "#6c757d"
# Okabe and Ito's palette, for series that are not classes; each is told apart on white and on near-black.
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
PRIORITY_COLOURS = {"STAT": "#c8282f", "Urgent": "#d9921a", "Routine": "#8a8a8a", "Backfill": "#5b8fb0"}
# Light enough at its deep end for dark numbers, on screen and on paper.
SEQUENTIAL = ((0.0, "#f4f2fb"), (0.15, "#dcd7f3"), (0.5, "#b9b1e6"), (1.0, "#9389d6"))
CELL_INK = "#1d1d1f"
SHARE = {"tickformat": ".0%"}
CLEAR = "rgba(0,0,0,0)"


def figure(traces: Sequence[Any], *, height: int = 300, **layout: Any) -> go.Figure:
    """A figure with room for its labels and a legend above it where there are several series."""
    made = go.Figure(list(traces))
    made.update_layout(
        template="none",
        height=height,
        margin={"l": 56, "r": 16, "t": 40, "b": 48},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        hovermode=False,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left", "traceorder": "normal"},
    )
    made.update_xaxes(fixedrange=True, automargin=True)
    made.update_yaxes(fixedrange=True, automargin=True)
    made.update_layout(**layout)
    return made


def titled(title: str, **axis: Any) -> dict[str, Any]:
    return {"title": {"text": title, "standoff": 8, "font": {"size": 12}}, "zeroline": False, **axis}


def span(values: Sequence[float | None], *, floor: float = 0.0, ceiling: float = 1.0) -> list[float]:
    """A range of shares that holds all values with some air, ending at the ceiling."""
    known = [value for value in values if value is not None]
    low = min(known, default=floor)
    return [max(floor, low - 0.06 * (ceiling - low) - 0.004), ceiling + 0.02 * (ceiling - low) + 0.002]


def rows_from_top(names: Sequence[str], **axis: Any) -> dict[str, Any]:
    """A y axis of named rows, the first on top, at positions 0, 1, 2, …"""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "range": [len(names) - 0.4, -0.6],
        "zeroline": False,
        "showgrid": False,
        **axis,
    }


def interval(values: Sequence[Mapping[str, float | None]], low: str, high: str) -> dict[str, Any]:
    """Error bars along x from value to low and high; an interval that is not defined is not drawn."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [(row[high] - row["value"]) if _has(row, high) else 0 for row in values],  # type: ignore[operator]
        "arrayminus": [(row["value"] - row[low]) if _has(row, low) else 0 for row in values],  # type: ignore[operator]
    }


def _has(row: Mapping[str, float | None], key: str) -> bool:
    return row.get(key) is not None and row["value"] is not None
