"""Files that only the person who started the server may read."""

import os
import secrets
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Never readable by others, not even for the moment between making it and narrowing its mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def lasting_secret(path: Path) -> str:
    """The secret kept in `path`, made on first use."""
    if not path.exists() or not path.read_text().strip():
        write_private(path, secrets.token_urlsafe(48))
    return path.read_text().strip()
