"""The tokens of the design hold what they promise: contrast in both themes, and the same set in each."""

import re
from pathlib import Path

import pytest
from django.conf import settings

CSS = Path(settings.BASE_DIR) / "portal" / "static" / "css"
THEMES = ("light", "dark")
TEXT_ON = [
    ("text", "canvas"),
    ("text", "raised"),
    ("text", "sunken"),
    ("muted", "canvas"),
    ("muted", "raised"),
    ("accent", "canvas"),
    ("accent", "accent-soft"),
    ("accent-strong", "canvas"),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("on-stat", "stat"),
    ("on-urgent", "urgent"),
    ("needs", "canvas"),
    ("done", "canvas"),
    ("problem", "canvas"),
    ("flag", "canvas"),
    *((tone, f"{tone}-soft") for tone in ("waiting", "running", "needs", "done", "problem", "quiet", "flag")),
]
EDGE_ON = [("line", "canvas"), ("focus", "canvas"), ("accent", "track")]


def tokens(theme: str) -> dict[str, str]:
    sheet = (CSS / "leukoscope.css").read_text()
    block = re.search(rf'\[data-bs-theme="{theme}"\] {{(.*?)}}', sheet, flags=re.DOTALL)
    assert block
    return dict(re.findall(r"--lk-([\w-]+): (#[0-9a-f]{6});", block[1]))


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("text", "ground"), TEXT_ON)
def test_text_can_be_read(theme: str, text: str, ground: str) -> None:
    colours = tokens(theme)
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("edge", "ground"), EDGE_ON)
def test_edges_can_be_seen(theme: str, edge: str, ground: str) -> None:
    colours = tokens(theme)
    assert contrast(colours[edge], colours[ground]) >= 3


def test_the_accent_is_the_stain() -> None:
    assert tokens("light")["accent"] == "#4b3f9e"


def test_both_themes_have_the_same_tokens() -> None:
    assert set(tokens("light")) == set(tokens("dark"))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("surround", ["canvas", "raised", "sunken", "well", "hairline"])
def test_what_surrounds_a_smear_has_no_tint(theme: str, surround: str) -> None:
    colour = tokens(theme)[surround]
    assert colour[1:3] == colour[3:5] == colour[5:7]


def test_every_token_used_exists() -> None:
    known = set(re.findall(r"(--lk-[\w-]+):", (CSS / "leukoscope.css").read_text()))
    for sheet in CSS.glob("*.css"):
        assert set(re.findall(r"var\((--lk-[\w-]+)", sheet.read_text())) - known == set(), sheet.name
