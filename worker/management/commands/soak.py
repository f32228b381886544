"""The laboratory of `script/soak`, which does the harm meanwhile."""

import logging
import random
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from diagnosis.models import Case, ModelVersion
from diagnosis.states import ModelStatus
from worker.soak import Laboratory, patiently, verdict


class Command(BaseCommand):
    help = "Hand cases in for some minutes, then prove that each came through once. Use script/soak."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--minutes", type=float, default=20.0)

    def handle(self, *args: Any, **options: Any) -> None:
        if Case.objects.exists():
            raise CommandError("There are cases in this database. Use script/soak, which makes one of its own.")
        if not ModelVersion.objects.filter(status=ModelStatus.ACTIVE).exists():
            raise CommandError("There is no released model: see MODELS_DIR in docs/operations.md.")
        logging.getLogger("worker.tasks").setLevel(logging.ERROR)
        laboratory = Laboratory(random.Random())  # noqa: S311 - no secret
        laboratory.work(options["minutes"] * 60)
        laboratory.settle()
        found = patiently(lambda: verdict(laboratory.acknowledged))
        self.stdout.write(
            f"{found.cases} cases with {found.images} images were handed in, {len(laboratory.acknowledged)} of the "
            f"cases acknowledged; {found.tried_again} images were tried more than once."
        )
        if found.faults or not found.cases:
            raise CommandError("Not all came through: " + ("; ".join(found.faults) or "nothing was handed in") + ".")
        self.stdout.write("Every image has exactly one result and every case moved on exactly once.")
