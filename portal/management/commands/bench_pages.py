"""`script/bench pages` in databases of its own; it would fill a laboratory's with a million cases, so it refuses."""

import json
import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from diagnosis.models import Case


class Command(BaseCommand):
    help = "Measure pages over 1 000 cases and over many. Needs an empty database: use script/bench pages."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--cases", type=int, default=1_000_000, help="size of the large archive (1000000)")
        parser.add_argument("--rounds", type=int, default=11, help="how often each page is opened over each (11)")
        parser.add_argument("--json", action="store_true", help="a list of objects instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        from portal.benchmark.pages import SMALL, Archives, table

        if Case.objects.exists():
            raise CommandError("There are cases in this database. Use script/bench pages, which makes its own.")
        if options["cases"] < SMALL:
            raise CommandError(f"The large archive has at least {SMALL} cases.")
        logging.disable(logging.WARNING)
        archives = Archives(options["cases"], self.stderr.write)
        rows = []
        for row in archives.rows(options["rounds"]):
            self.stderr.write(table([row])[1])
            rows.append(row)
        if options["json"]:
            self.stdout.write(json.dumps([row.as_dict() for row in rows], indent=1, ensure_ascii=False))
        else:
            self.stdout.write("\n".join(table(rows)))
