"""`script/bench` in a database of its own; on a laboratory's it would queue thousands of images, so it refuses."""

import json
import logging
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from diagnosis.models import Case


class Command(BaseCommand):
    help = "Measure every bar that concerns the worker. Needs an empty database: use script/bench."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="a list of objects instead of a table")
        parser.add_argument("--images", type=int, help="images for each measurement of throughput")
        parser.add_argument(
            "--pictures", type=Path, help="folder of real smears to measure with, instead of drawn ones"
        )
        parser.add_argument("--quick", action="store_true", help="few images, once: only to see that it runs")

    def handle(self, *args: Any, **options: Any) -> None:
        from dataclasses import replace

        from worker.benchmark.measures import QUICK, Benchmark, Effort, active_version
        from worker.benchmark.rows import table

        if Case.objects.exists():
            raise CommandError("There are cases in this database. Use script/bench, which makes one of its own.")
        version = active_version()
        if version is None:
            raise CommandError("There is no released model to measure: see MODELS_DIR in docs/operations.md.")
        logging.disable(logging.INFO)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers it started are ended too
        effort = QUICK if options["quick"] else Effort()
        if options["images"]:
            effort = replace(effort, images=options["images"])
        try:
            benchmark = Benchmark(version, effort, options["pictures"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        rows = []
        for row in benchmark.rows():
            self.stderr.write(table([row])[1])
            rows.append(row)
        if options["json"]:
            self.stdout.write(json.dumps([row.as_dict() for row in rows], indent=1, ensure_ascii=False))
        else:
            self.stdout.write("\n".join([*table(rows), "", benchmark.reason]))
