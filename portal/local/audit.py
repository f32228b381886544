"""Known holes in the packages we pin: a finding fails, a service that cannot be asked is said out loud."""

import json
import subprocess
import sys
from typing import Any

from portal.local import ROOT

ACCEPTED: dict[str, str] = {}
"""Advisories that do not touch us, each with the reason why."""


def audit_packages() -> bool:
    """False when a pinned package has a known hole that is not in ACCEPTED."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json"]
    result = subprocess.run(
        [*command, "--progress-spinner", "off", "-r", "requirements-dev.txt"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    holes = known_holes(result.stdout)
    if holes is None:
        print("   NOT CHECKED: the advisory service gave no answer.", flush=True)
        print("\n".join(f"   {line}" for line in result.stderr.strip().splitlines()[-3:]), flush=True)
        return True
    for hole in holes:
        print(f"   {hole}")
    print("   FAILED" if holes else "   ok", flush=True)
    return not holes


def known_holes(report: str) -> list[str] | None:
    """One line for each finding of pip-audit's report; None where there is no report to read."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {hole['fix_versions'] or 'none'}"
        for package in packages
        for hole in package.get("vulns", [])
        if hole["id"] not in ACCEPTED
    ]
