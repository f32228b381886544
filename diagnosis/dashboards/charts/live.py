"""Drawings of live performance."""

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from diagnosis.dashboards.charts.operations import ranked as ranked_images
from diagnosis.dashboards.charts.style import ACCENT, NEUTRAL, SERIES, SHARE, figure, rows_from_top, span, titled
from diagnosis.dashboards.statistics import Share

if TYPE_CHECKING:
    from diagnosis.dashboards.drift import Drift

LEVEL_COLOURS = {"steady": NEUTRAL, "watch": "#d9921a", "alarm": "#c8282f"}


def _reach(shares: Sequence[Share]) -> dict[str, Any]:
    known = [(share.value or 0.0, share.low or 0.0, share.high or 0.0) for share in shares]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, _, high in known],
        "arrayminus": [value - low for value, low, _ in known],
        "thickness": 2,
        "width": 3,
        "color": ACCENT,
    }


def shares(found: Mapping[str, Share]) -> go.Figure:
    """One row a share, with its interval."""
    values = list(found.values())
    points = go.Scatter(
        x=[share.value for share in values],
        y=list(range(len(values))),
        mode="markers",
        marker={"size": 9, "color": ACCENT},
        error_x=_reach(values),
        showlegend=False,
    )
    return figure(
        [points],
        height=80 + 34 * len(values),
        margin={"l": 56, "r": 16, "t": 8, "b": 40},
        xaxis=titled("", range=span([share.low for share in values]), **SHARE),
        yaxis=rows_from_top(list(found)),
    )


def by_week(weeks: Sequence[datetime.date], found: Sequence[Share]) -> go.Figure:
    points = go.Scatter(
        x=[week.isoformat() for week in weeks],
        y=[share.value for share in found],
        mode="lines+markers",
        line={"color": ACCENT, "width": 2},
        marker={"size": 7},
        error_y=_reach(found),
        showlegend=False,
    )
    return figure(
        [points],
        margin={"l": 56, "r": 16, "t": 8, "b": 48},
        xaxis=titled("", type="date", range=_whole_weeks(weeks)),
        yaxis=titled("Concordance", range=span([share.low for share in found]), **SHARE),
    )


def _whole_weeks(weeks: Sequence[datetime.date]) -> list[str] | None:
    """From a week before the first to a week after the last, so that a single point is not drawn against minutes."""
    if not weeks:
        return None
    margin = datetime.timedelta(weeks=1)
    return [(min(weeks) - margin).isoformat(), (max(weeks) + margin).isoformat()]


def ranked(names: Sequence[str], values: Sequence[int]) -> go.Figure:
    return ranked_images(names, values, "Cases")


def drift(found: "Sequence[Drift]", watch: float, alarm: float) -> go.Figure:
    """The index of each measure, the two limits, and a tick for what chance alone may reach."""
    places = list(range(len(found)))
    bars = go.Bar(
        x=[entry.index for entry in found],
        y=places,
        orientation="h",
        marker={"color": [LEVEL_COLOURS[entry.level] for entry in found]},
        showlegend=False,
    )
    chance = go.Scatter(
        x=[entry.by_chance for entry in found],
        y=places,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 18, "color": SERIES[0], "line": {"width": 2}},
        name="reached by chance once in a thousand",
    )
    limits = [
        {
            "type": "line",
            "x0": limit,
            "x1": limit,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"color": LEVEL_COLOURS[level], "width": 1.5, "dash": "dash"},
        }
        for limit, level in ((watch, "watch"), (alarm, "alarm"))
    ]
    most = max([alarm, *[max(entry.index or 0, entry.by_chance or 0) for entry in found]])
    return figure(
        [bars, chance],
        height=100 + 30 * len(found),
        bargap=0.4,
        shapes=limits,
        xaxis=titled("Population stability index", range=[0, most * 1.08]),
        yaxis=rows_from_top([entry.title for entry in found]),
    )
