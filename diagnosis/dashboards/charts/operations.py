"""Drawings of how the laboratory runs."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from diagnosis.dashboards.charts.style import (
    ACCENT,
    NEUTRAL,
    PRIORITY_COLOURS,
    SERIES,
    figure,
    rows_from_top,
    titled,
)

__all__ = ["PRIORITY_COLOURS", "day_bars", "lines", "percentiles", "queue", "ranked", "stacked"]

TICKS = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 21_600: "6 h", 86_400: "1 d", 604_800: "7 d"}


def queue(names: Sequence[str], queued: Sequence[int], running: Sequence[int]) -> go.Figure:
    return stacked(names, {"Queued": queued, "Running": running}, colours=(NEUTRAL, ACCENT), x_title="Images")


def stacked(
    names: Sequence[str], series: Mapping[str, Sequence[int]], *, colours: Sequence[str], x_title: str = "Cases"
) -> go.Figure:
    traces = [
        go.Bar(
            x=list(values),
            y=list(range(len(names))),
            orientation="h",
            name=name,
            marker={"color": colours[place]},
        )
        for place, (name, values) in enumerate(series.items())
    ]
    return figure(
        traces,
        height=110 + 30 * len(names),
        barmode="stack",
        bargap=0.4,
        xaxis=titled(x_title, rangemode="tozero", tickformat=",d", **_whole(series)),
        yaxis=rows_from_top(names),
    )


def _whole(series: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """No ticks between whole numbers where there are few, and a real axis where there is nothing."""
    most = max((sum(values) for values in zip(*series.values(), strict=True)), default=0)
    return {"range": [0, 4.2], "dtick": 1} if most <= 4 else {}


def lines(days: Sequence[datetime.date], series: Mapping[str, Sequence[int]], y_title: str) -> go.Figure:
    traces = [
        go.Scatter(
            x=[day.isoformat() for day in days],
            y=list(values),
            mode="lines",
            name=name,
            line={"color": SERIES[place], "width": 2, "shape": "hvh"},
        )
        for place, (name, values) in enumerate(series.items())
    ]
    return figure(traces, xaxis=titled("", type="date"), yaxis=titled(y_title, rangemode="tozero", tickformat=",d"))


def day_bars(days: Sequence[datetime.date], series: Mapping[str, Sequence[int]], y_title: str) -> go.Figure:
    colours = (SERIES[0], SERIES[1], SERIES[5])
    traces = [
        go.Bar(x=[day.isoformat() for day in days], y=list(values), name=name, marker={"color": colours[place]})
        for place, (name, values) in enumerate(series.items())
    ]
    return figure(
        traces,
        barmode="stack",
        bargap=0.15,
        xaxis=titled("", type="date"),
        yaxis=titled(y_title, rangemode="tozero", tickformat=",d"),
    )


def percentiles(rows: Sequence[Sequence[Any]]) -> go.Figure:
    """Rows of (stage, priority, cases, p50, p90, p95): from p50 to p95 on a logarithmic axis of time."""
    names = [f"{row[0]} · {row[1]}" for row in rows]
    traces: list[Any] = []
    for place, row in enumerate(rows):
        colour = PRIORITY_COLOURS[row[1]]
        traces.append(
            go.Scatter(
                x=[_second(value) for value in row[3:6]],
                y=[place] * 3,
                mode="lines+markers",
                line={"color": colour, "width": 3},
                marker={"symbol": ["circle", "diamond", "line-ns-open"], "size": [11, 9, 13], "color": colour},
                showlegend=False,
            )
        )
    for name, symbol in (("p50", "circle"), ("p90", "diamond"), ("p95", "line-ns-open")):
        marker = {"symbol": symbol, "size": 10, "color": NEUTRAL}
        traces.append(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker))
    ticks = {"tickvals": list(TICKS), "ticktext": list(TICKS.values())}
    return figure(
        traces,
        height=110 + 28 * len(names),
        xaxis=titled("Time, each step several times the one before", type="log", **ticks),
        yaxis=rows_from_top(names),
    )


def _second(value: float) -> float:
    """A logarithmic axis has no zero: what took less is drawn at a tenth of a second."""
    return max(value, 0.1)


def ranked(names: Sequence[str], values: Sequence[int], x_title: str = "Images") -> go.Figure:
    bars = go.Bar(x=list(values), y=list(range(len(names))), orientation="h", marker={"color": ACCENT})
    return figure(
        [bars],
        height=90 + 26 * len(names),
        margin={"l": 56, "r": 16, "t": 8, "b": 48},
        bargap=0.35,
        showlegend=False,
        xaxis=titled(x_title, rangemode="tozero", tickformat=",d", **_whole({"": values})),
        yaxis=rows_from_top(names),
    )
