"""Everything on one machine: what `script/server` and `script/test` start, watch and stop.

Nothing here imports Django: these modules run before there is a database to talk to.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VAR = ROOT / "var"


class CannotStart(Exception):
    """A reason not to go on, as a sentence the person at the terminal can act on."""
