"""Drawings of an evaluation report."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from diagnosis.dashboards.charts.style import (
    ACCENT,
    CELL_INK,
    CLEAR,
    NEUTRAL,
    SEQUENTIAL,
    SERIES,
    SHARE,
    figure,
    interval,
    rows_from_top,
    span,
    titled,
)

Rates = Mapping[str, float | None]
FEW = 6  # classes that fit into half a page


def forest(
    names: Sequence[str],
    values: Sequence[Rates],
    *,
    colours: Sequence[str] | None = None,
    claims: Mapping[str, float] | None = None,
) -> go.Figure:
    """One row a figure: the value, its interval over groups, the naive one thin below it, and what others claim."""
    places = list(range(len(names)))
    claims = claims or {}
    marks = colours or [ACCENT] * len(names)
    traces = [
        _intervals("95 % interval over groups", places, values, "low", "high", marks, 8, 2.5),
        _intervals(
            "naive interval over images (optimistic)",
            [place + 0.24 for place in places],
            values,
            "naive_low",
            "naive_high",
            [NEUTRAL] * len(names),
            4,
            1,
        ),
    ]
    if claims:
        at = [place for place in places if names[place] in claims]
        ends = [
            (x, y)
            for place in at
            for x, y in ((claims[names[place]], place - 0.45), (claims[names[place]], place + 0.45), (None, None))
        ]
        traces.append(
            go.Scatter(
                x=[x for x, _ in ends],
                y=[y for _, y in ends],
                mode="lines",
                line={"color": SERIES[5], "width": 2, "dash": "dash"},
                name="claimed by the paper, split not stated",
            )
        )
    everything = [row.get(key) for row in values for key in ("value", "low", "naive_low")] + list(claims.values())
    return figure(
        traces,
        height=90 + (34 if len(names) <= 16 else 26) * len(names),
        xaxis=titled("", range=span(everything), **SHARE),
        yaxis=rows_from_top(names),
    )


def _intervals(
    name: str,
    places: Sequence[float],
    values: Sequence[Rates],
    low: str,
    high: str,
    colours: Sequence[str],
    size: int,
    thickness: float,
) -> go.Scatter:
    """Plotly draws all error bars of a trace in one colour, so the value carries the class's and the bar is grey."""
    one = colours[0] if len(set(colours)) == 1 else NEUTRAL
    return go.Scatter(
        x=[row["value"] for row in values],
        y=list(places),
        mode="markers",
        name=name,
        marker={"size": size, "color": list(colours), "line": {"width": 0}},
        error_x={**interval(values, low, high), "color": one, "thickness": thickness, "width": 3},
    )


def confusion(
    counts: Sequence[Sequence[int]], across: Sequence[str], down: Sequence[str], across_title: str, down_title: str
) -> go.Figure:
    """Counts and row shares in the cells; the deeper the colour, the larger the share of its row."""
    totals = [sum(row) or 1 for row in counts]
    shares = [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]
    labels = [
        {
            "x": column,
            "y": line,
            "text": f"{count}<br>{share:.0%}" if count else "0",
            "showarrow": False,
            "font": {"size": 12, "color": CELL_INK},
        }
        for line, (row, row_shares) in enumerate(zip(counts, shares, strict=True))
        for column, (count, share) in enumerate(zip(row, row_shares, strict=True))
    ]
    cells = go.Heatmap(z=shares, zmin=0, zmax=1, colorscale=SEQUENTIAL, showscale=False, xgap=2, ygap=2)
    many = len(across) > FEW
    columns = {
        "tickvals": list(range(len(across))),
        "ticktext": [name if many else _broken(name) for name in across],
        "tickangle": -35 if many else 0,
    }
    return figure(
        [cells],
        height=110 + (44 if many else 56) * len(down),
        annotations=labels,
        xaxis=titled(across_title, showgrid=False, **columns),
        yaxis=rows_from_top(down) | titled(down_title, range=[len(down) - 0.5, -0.5]),
        margin={"l": 56, "r": 16, "t": 12, "b": 56},
    )


def _broken(name: str) -> str:
    """Long class titles in two lines."""
    words = name.split(" ")
    if len(name) <= 12 or len(words) == 1:
        return name
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]) + "<br>" + " ".join(words[middle:])


def curves(
    lines: Sequence[tuple[str, str, Sequence[float], Sequence[float]]],
    points: Sequence[tuple[float | None, float | None, str]],
    *,
    x_title: str,
    y_title: str,
    chance: bool,
) -> go.Figure:
    """One curve a class as (name, colour, x, y), and where each class stands when the likeliest class is said."""
    traces: list[Any] = []
    if chance:
        traces.append(
            go.Scatter(x=[0, 1], y=[0, 1], mode="lines", showlegend=False, line={"color": NEUTRAL, "dash": "dot"})
        )
    traces += [
        go.Scatter(x=list(x), y=list(y), mode="lines", name=name, line={"color": colour, "width": 2})
        for name, colour, x, y in lines
    ]
    known = [point for point in points if point[0] is not None and point[1] is not None]
    marker = {"size": 10, "color": [point[2] for point in known], "line": {"width": 1.5, "color": NEUTRAL}}
    traces.append(
        go.Scatter(
            x=[point[0] for point in known],
            y=[point[1] for point in known],
            mode="markers",
            name="operating point",
            marker=marker,
        )
    )
    return figure(
        traces,
        height=400 if len(lines) <= FEW else 480,
        xaxis=titled(x_title, range=[-0.02, 1.02], **SHARE),
        yaxis=titled(y_title, range=[-0.02, 1.02], **SHARE),
    )


def reliability(before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]) -> go.Figure:
    """Accuracy against confidence over the counts of the bins."""
    diagonal = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", showlegend=False, line={"color": NEUTRAL, "dash": "dot"})
    traces: list[Any] = [diagonal]
    for name, bins, colour, symbol in (
        ("before calibration", before, SERIES[1], "circle-open"),
        ("after calibration", after, SERIES[0], "circle"),
    ):
        traces.append(
            go.Scatter(
                x=[bin_["confidence"] for bin_ in bins],
                y=[bin_["accuracy"] for bin_ in bins],
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 1.5},
                marker={"symbol": symbol, "size": 8},
            )
        )
    traces.append(
        go.Bar(
            x=[bin_["confidence"] for bin_ in after],
            y=[bin_["count"] for bin_ in after],
            width=0.02,
            marker={"color": SERIES[0]},
            showlegend=False,
            yaxis="y2",
        )
    )
    return figure(
        traces,
        height=400,
        xaxis=titled("Confidence", range=[0, 1.02], anchor="y2", **SHARE),
        yaxis=titled("Right", range=[0, 1.04], domain=[0.32, 1], **SHARE),
        yaxis2=titled("Images", domain=[0, 0.22], showgrid=False, fixedrange=True, nticks=3, linecolor=CLEAR),
    )


def risk_coverage(part: Mapping[str, Any]) -> go.Figure:
    """Error rate among the most confident share, with the point where the model stops answering."""
    line = go.Scatter(
        x=part["coverage"], y=part["risk"], mode="lines", name="risk", line={"color": SERIES[0], "width": 2}
    )
    traces: list[Any] = [line]
    risks = [risk for risk in part["risk"] if risk is not None]
    if part.get("risk_at_threshold") is not None and part.get("coverage_at_threshold") is not None:
        marker = {"size": 11, "symbol": "diamond", "color": SERIES[5]}
        point = [part["coverage_at_threshold"]], [part["risk_at_threshold"]]
        traces.append(go.Scatter(x=point[0], y=point[1], mode="markers", name="abstention point", marker=marker))
    return figure(
        traces,
        height=400,
        xaxis=titled("Share of images answered", range=[0, 1.02], **SHARE),
        yaxis=titled("Wrong among them", range=[0, max([*risks, 0.01]) * 1.1], tickformat=".1%"),
    )


def training(rows: Sequence[Mapping[str, float]], names: Mapping[str, str], y_title: str, *, share: bool) -> go.Figure:
    """One line a measure over the epochs, through the epochs in which it was taken."""
    traces = []
    for index, (key, name) in enumerate(names.items()):
        taken = [row for row in rows if row.get(key) is not None]
        traces.append(
            go.Scatter(
                x=[row["epoch"] for row in taken],
                y=[row[key] for row in taken],
                mode="lines+markers",
                name=name,
                line={"color": SERIES[index], "width": 2},
                marker={"size": 5},
            )
        )
    ticks = SHARE if share else {"rangemode": "tozero"}
    return figure(
        traces,
        height=320,
        xaxis=titled("Epoch", tickformat="d", **({"dtick": 1} if len(rows) <= 12 else {})),
        yaxis=titled(y_title, **ticks),
    )


def compared(names: Sequence[str], series: Mapping[str, Sequence[Rates]]) -> go.Figure:
    """One row a protocol, one mark a measure, each with its interval over groups."""
    step = 0.8 / max(len(series), 1)
    traces = []
    for index, (name, found) in enumerate(series.items()):
        rows: list[Rates] = [{"value": None, "low": None, "high": None, **row} for row in found]
        bars = {**interval(rows, "low", "high"), "color": SERIES[index], "thickness": 1.5, "width": 3}
        traces.append(
            go.Scatter(
                x=[row["value"] for row in rows],
                y=[place + (index - (len(series) - 1) / 2) * step for place in range(len(names))],
                mode="markers",
                name=name,
                marker={"size": 9, "color": SERIES[index]},
                error_x=bars,
            )
        )
    everything = [row.get(key) for found in series.values() for row in found for key in ("value", "low")]
    return figure(
        traces,
        height=100 + 22 * len(series) * len(names),
        xaxis=titled("", range=span(everything), **SHARE),
        yaxis=rows_from_top(names),
    )


def grouped_bars(
    names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    colours: Sequence[str] = SERIES,
    share: bool = True,
    x_title: str = "",
) -> go.Figure:
    """Horizontal bars, one group a row."""
    traces = [
        go.Bar(
            x=list(values),
            y=list(range(len(names))),
            orientation="h",
            name=name,
            marker={"color": colours[index % len(colours)]},
        )
        for index, (name, values) in enumerate(series.items())
    ]
    return figure(
        traces,
        height=90 + (14 + 10 * len(series)) * len(names),
        xaxis=titled(x_title, rangemode="tozero", **(SHARE if share else {})),
        yaxis=rows_from_top(names),
        showlegend=len(series) > 1,
        bargap=0.3,
    )
