"""Plotly figures, made here and drawn in the browser by the plotly.js that comes with the same package."""

import plotly.graph_objects as go

from diagnosis.selectors.predictions import ClassProbability, Suggestion


def suggestion_figure(suggestion: Suggestion) -> str:
    """The probabilities of a suggestion as horizontal bars on a 0-100 % axis, most probable on top, with their 95 %
    intervals where there are any. JSON."""
    entries = list(reversed(suggestion.probabilities))
    whiskers = _whiskers(entries)
    bars = go.Bar(
        orientation="h",
        x=[entry.percent for entry in entries],
        y=[entry.title for entry in entries],
        marker_color=[entry.colour for entry in entries],
        text=[f"{entry.percent} %" for entry in entries],
        textposition="none" if whiskers else "outside",
        cliponaxis=False,
        hoverinfo="skip",
        error_x=whiskers,
    )
    figure = go.Figure(bars)
    figure.update_layout(
        template="none",
        height=34 * len(entries) + 36,
        margin={"l": 72, "r": 56, "t": 4, "b": 28},
        xaxis={
            "range": [0, 100],
            "fixedrange": True,
            "tickvals": [0, 50, 100],
            "ticktext": ["0 %", "50 %", "100 %"],
        },
        yaxis={"fixedrange": True, "automargin": True},
        bargap=0.35,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        annotations=_figures_beyond_whiskers(entries) if whiskers else [],
    )
    return figure.to_json()


def _whiskers(entries: list[ClassProbability]) -> dict | None:
    if any(entry.low is None or entry.high is None for entry in entries):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * ((entry.high or 0) - entry.probability) for entry in entries],
        "arrayminus": [100 * (entry.probability - (entry.low or 0)) for entry in entries],
        "color": "#8c8c8c",
        "thickness": 1.5,
        "width": 4,
    }


def _figures_beyond_whiskers(entries: list[ClassProbability]) -> list[dict]:
    return [
        {
            "x": max(entry.percent, 100 * (entry.high or 0)),
            "y": entry.title,
            "text": f"{entry.percent} %",
            "xanchor": "left",
            "xshift": 4,
            "showarrow": False,
        }
        for entry in entries
    ]
