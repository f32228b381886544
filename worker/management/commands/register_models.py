"""Make the released models under MODELS_DIR known to the portal, with what was measured of them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from diagnosis.models import ModelVersion
from diagnosis.services.predictions import model_evaluation_store, model_version_register
from ml.manifest import FILE_NAME, Manifest, ManifestError, released

REPORT_FILE = "report.json"
OTHER_REPORTS = "report-*.json"
AUDIT_FILE = "audit.json"
CURVES_FILE = "curves.json"


class Command(BaseCommand):
    help = "Register the released models; the newest version of a task that has none becomes active."

    def handle(self, *args: Any, **options: Any) -> None:
        """The newest of a task first, so that a new portal starts with it; older ones it never knew are let be."""
        for task in sorted({path.parent.parent.name for path in settings.MODELS_DIR.glob(f"*/*/{FILE_NAME}")}):
            known = set(ModelVersion.objects.filter(task=task).values_list("version", flat=True))
            newer = False
            for directory in reversed(released(settings.MODELS_DIR, task)):
                if directory.name in known or not newer:
                    newer = self._register(directory) or newer

    def _register(self, directory: Path) -> bool:
        """Whether the release is whole, and known now."""
        try:
            manifest = Manifest.read(directory)
        except ManifestError as error:
            self.stderr.write(f"Left out: {error}")
            return False
        weights = directory / manifest.weights.file
        if not weights.is_file() or _sha256(weights) != manifest.weights.sha256:
            self.stderr.write(f"Left out: {weights} is missing or not the file its manifest describes.")
            return False
        version = model_version_register(
            manifest=manifest.model_dump(mode="json"), weights_sha256=manifest.weights.sha256
        )
        model_evaluation_store(
            model_version=version,
            report=self._report(directory),
            curves=self._measured(directory / CURVES_FILE, list),
        )
        self.stdout.write(f"{version}: {version.get_status_display().lower()}")
        return True

    def _report(self, directory: Path) -> dict | None:
        """The release's own report; other protocols (ml.evaluate) and the audit of its data (ml.audit) join it."""
        report = self._measured(directory / REPORT_FILE, dict)
        if report is None:
            return None
        others = [self._measured(path, dict) for path in sorted(directory.glob(OTHER_REPORTS))]
        further = [protocol for other in others if other for protocol in other.get("protocols", [])]
        audit = self._measured(directory / AUDIT_FILE, dict) or {}
        shortcuts = {"shortcuts": audit["probes"]} if "probes" in audit else {}
        return report | {"protocols": [*report.get("protocols", []), *further]} | shortcuts

    def _measured(self, path: Path, kind: type) -> Any:
        """What lies in the file, or None. Figures that are not defined (NaN) become null: the database has no NaN."""
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
        except ValueError as error:
            self.stderr.write(f"Left out: {path} is not JSON: {error}")
            return None
        if not isinstance(found, kind):
            self.stderr.write(f"Left out: {path} does not hold a {kind.__name__}.")
            return None
        return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
