"""Let a model version look at the whole archive, beside what the cases already have."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from diagnosis.models import ModelVersion
from diagnosis.services.predictions import archive_images, archive_queue
from diagnosis.states import ModelStatus


class Command(BaseCommand):
    help = (
        "Queue every image of the archive for a model version, at backfill priority: behind all that is handed in, "
        "shown to no reader, changing no case. May be broken off and begun again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--task", required=True, help="for instance b-all-stage")
        parser.add_argument("--to", metavar="VERSION", help="the version that is to look; the active one by default")

    def handle(self, *args: Any, **options: Any) -> None:
        model_version = self._version(options["task"], options["to"])
        before = model_version.runs.count()
        total = archive_images(model_version).count()
        with tqdm(total=total, unit="image", desc=str(model_version), file=self.stderr) as progress:
            for done in archive_queue(model_version=model_version):
                progress.update(done)
        queued = model_version.runs.count() - before
        self.stdout.write(f"{model_version}: {queued} of {total} images queued, the others were before.")

    def _version(self, task: str, version: str | None) -> ModelVersion:
        versions = ModelVersion.objects.filter(task=task)
        if not versions.exists():
            known = ", ".join(sorted(set(ModelVersion.objects.values_list("task", flat=True)))) or "none"
            raise CommandError(f"There is no model for the task {task!r}; known: {known}.")
        wanted = versions.filter(version=version) if version else versions.filter(status=ModelStatus.ACTIVE)
        found = wanted.first()
        if found is None:
            known = ", ".join(versions.values_list("version", flat=True))
            raise CommandError(
                f"{task} has no {'version ' + version if version else 'active version'}; known: {known}."
            )
        return found
