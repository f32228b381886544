"""A file name is text to look at."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnosis.images.names import MAX_LENGTH, display_name


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("field_01.jpg", "field_01.jpg"),
        ("Blutbild Müller №3.tif", "Blutbild Müller №3.tif"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ana\\field.bmp", "field.bmp"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("field\x00.jpg\r\nSet-Cookie: a=b", "field.jpg Set-Cookie: a=b"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ("a\u200b\u2066b\u2069.png", "ab.png"),
        ("  many   spaces\u2003here .jpg", "many spaces here .jpg"),
        ("<img src=x onerror=alert(1)>.jpg", "<img src=x onerror=alert(1)>.jpg"),
        ("", "image"),
        ("..", "image"),
        ("////", "image"),
        ("\u202e\u200b", "image"),
        ("\ud800.jpg", "jpg"),
    ],
)
def test_it_shows_the_last_part_without_tricks(raw: str, shown: str) -> None:
    assert display_name(raw) == shown


def test_it_shortens_in_the_middle() -> None:
    name = display_name("x" * 500 + "_field_12.jpg")
    assert len(name) == MAX_LENGTH
    assert name.endswith("_field_12.jpg")


@given(st.text(max_size=400))
def test_any_text_becomes_a_short_visible_line(raw: str) -> None:
    name = display_name(raw)
    assert 0 < len(name) <= MAX_LENGTH
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in name)
    assert "/" not in name
    assert "\\" not in name
    assert display_name(name) == name
