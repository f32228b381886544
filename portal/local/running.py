"""`script/manage`: manage.py with the environment of the portal that `script/server` is running in this checkout."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from portal.local import VAR, CannotStart
from portal.local.commands import manage
from portal.local.private_files import write_private

ENVIRONMENT = VAR / "run" / "environment.json"
# What a server decides for itself; everything else comes from whoever calls.
KEPT = (
    "SECRET_KEY",
    "DATABASE_URL",
    "REDIS_URL",
    "ALLOWED_HOSTS",
    "DJANGO_SETTINGS_MODULE",
    "DJANGO_DEBUG",
    "MODELS_DIR",
)


def remember(environment: Mapping[str, str]) -> None:
    """Written when the stores are up, readable by the owner alone."""
    write_private(ENVIRONMENT, json.dumps({name: environment[name] for name in KEPT if name in environment}))


def forget() -> None:
    ENVIRONMENT.unlink(missing_ok=True)


def running_environment(path: Path = ENVIRONMENT) -> dict[str, str]:
    try:
        kept: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        raise CannotStart("No server is running in this checkout: start script/server first.") from None
    except PermissionError:
        raise CannotStart("The server here was started by somebody else: call this as the same user.") from None
    return {**os.environ, **kept}


def main() -> int:
    try:
        environment = running_environment()
    except CannotStart as reason:
        print(reason, file=sys.stderr)
        return 1
    return subprocess.call(manage(*sys.argv[1:]), env=environment)


if __name__ == "__main__":
    sys.exit(main())
