"""Drawings for the figures, by subject. Colours that carry meaning are given here; inks and lines are the page's own
and set by plot.js, so that a figure is legible on light and on dark."""
