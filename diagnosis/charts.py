"""Plotly figures, made here and drawn in the browser by the plotly.js that comes with the same package."""

import plotly.graph_objects as go

from diagnosis.selectors.predictions import Suggestion


def suggestion_figure(suggestion: Suggestion) -> str:
    """The probabilities of a suggestion as horizontal bars on a 0-100 % axis, most probable on top. JSON."""
    entries = list(reversed(suggestion.probabilities))
    bars = go.Bar(
        orientation="h",
        x=[entry.percent for entry in entries],
        y=[entry.title for entry in entries],
        marker_color=[entry.colour for entry in entries],
        text=[f"{entry.percent} %" for entry in entries],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure = go.Figure(bars)
    figure.update_layout(
        template="none",
        height=34 * len(entries) + 36,
        margin={"l": 72, "r": 44, "t": 4, "b": 28},
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
    )
    return figure.to_json()
