"""The environment every process of the portal gets, on one machine as in production."""

import os
from collections.abc import Mapping

from portal.local import VAR
from portal.local.network import names_of_this_machine
from portal.local.private_files import lasting_secret


def portal_environment(host: str, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the caller set stays; the rest is filled in. Whoever starts database and Redis adds their URLs."""
    names = names_of_this_machine(host)
    defaults = {
        "SECRET_KEY": given.get("SECRET_KEY") or lasting_secret(VAR / "secret-key"),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "DJANGO_DEBUG": "0",
        "ALLOWED_HOSTS": ",".join(names),
        "PYTHONUNBUFFERED": "1",
    }
    return {**defaults, **given}


def suite_environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Like production, so that what the tests pass is what will run; the key protects nothing."""
    defaults = {
        "SECRET_KEY": "for-tests-only-" + "x1Y2z3-" * 8,
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "DJANGO_DEBUG": "0",
    }
    return {**defaults, **given}
