"""What a figure shows of a number, and what leaves it as CSV."""

import csv
import datetime
import io
from typing import Any

import pytest

from diagnosis.dashboards.export import figure_csv, harmless
from diagnosis.dashboards.figures import Column, Figure, Kind, duration, shown


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.9431, "percent", "94.3 %"),
        (None, "percent", "–"),
        (float("nan"), "number", "–"),
        (0.03921, "number", "0.039"),
        (1234567, "count", "1\u202f234\u202f567"),
        (200.0, "duration", "3 min 20 s"),
        (datetime.date(2026, 3, 9), "text", "9 Mar 2026"),
        ("=1+1", "text", "=1+1"),
    ],
)
def test_a_cell_is_shown_for_people(value: Any, kind: Kind, text: str) -> None:
    assert shown(value, kind) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 s"), (42, "42 s"), (60, "1 min"), (3600, "1 h"), (18_720, "5 h 12 min"), (273_600, "3 d 4 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\ufeff=1", "|calc", "%0"]
)
def test_text_that_looks_like_a_formula_is_neutralised(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("value", [-3, -0.25, 0, 12.5])
def test_a_number_stays_a_number(value: float) -> None:
    assert harmless(value) == value


@pytest.mark.parametrize("text", ["Early pre-B ALL", "a=b", "3-4", ""])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


def test_the_csv_holds_the_rows_with_units_in_the_heading() -> None:
    figure = Figure(
        key="x",
        title="X",
        read="",
        columns=(Column("Reason"), Column("Share", "percent"), Column("Took", "duration")),
        rows=[('=HYPERLINK("x")', 1 / 3, 12.5), ('with, comma and "quote"', None, 0.0)],
    )
    text = figure_csv(figure)
    assert text.startswith("\ufeff")
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    assert rows == [
        ["Reason", "Share (share of 1)", "Took (seconds)"],
        ['\'=HYPERLINK("x")', "0.333333", "12.5"],
        ['with, comma and "quote"', "", "0.0"],
    ]
