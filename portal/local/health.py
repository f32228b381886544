"""Asking the portal how it is, the way a load balancer would."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass


@dataclass(frozen=True)
class Health:
    """`final`: all but the models is well and the worker has said what is wrong with those, so that waiting longer
    changes nothing."""

    answered: bool
    ok: bool
    troubles: tuple[str, ...] = ()
    final: bool = False


def ask_health(address: str) -> Health:
    """Whether /health/ answers at all, whether all is well, and else which checks are not."""
    try:
        with urllib.request.urlopen(f"{address}/health/", timeout=5) as answer:  # noqa: S310 - our own address
            body, ok = answer.read(), True
    except urllib.error.HTTPError as error:
        body, ok = error.read(), False
    except OSError:
        return Health(answered=False, ok=False)
    return Health(answered=True, ok=True) if ok else _troubled(body)


def _troubled(body: bytes) -> Health:
    try:
        checks = json.loads(body)["checks"]
        bad = {name: str(check["message"]) for name, check in checks.items() if not check["ok"]}
        final = bad.keys() <= {"worker", "model"} and not checks["worker"]["starting"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Health(answered=True, ok=False, troubles=("no readable answer",))
    return Health(answered=True, ok=False, troubles=tuple(": ".join(pair) for pair in bad.items()), final=final)
