"""A file name as text to show: never a path, never a key, never able to disguise itself."""

from __future__ import annotations

import re
import unicodedata

MAX_LENGTH = 120
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def display_name(raw: str) -> str:
    """The last part of `raw` without control characters, bidirectional overrides or surplus length.

    Markup is left as it is: whoever shows the name escapes it, and what the user typed stays recognisable.
    """
    last_part = re.split(r"[\\/]", raw)[-1]
    visible = "".join(
        " " if character.isspace() else character
        for character in unicodedata.normalize("NFC", last_part)
        if character.isspace() or unicodedata.category(character) not in _INVISIBLE
    )
    name = " ".join(visible.split()).strip(". ")
    return _shortened(name) or "image"


def _shortened(name: str) -> str:
    """Cut from the middle, so that the extension stays."""
    if len(name) <= MAX_LENGTH:
        return name
    tail = name[-16:]
    return f"{name[: MAX_LENGTH - len(tail) - 1]}…{tail}"
