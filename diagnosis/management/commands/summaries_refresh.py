from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.models import Site
from diagnosis.dashboards.summaries import summaries_refresh, summaries_restart


class Command(BaseCommand):
    help = "Count again the days of the dashboards on which something changed, as beat does; or all of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="forget what was counted and count every day again")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["all"]:
            for site in Site.objects.all():
                summaries_restart(site=site)
        self.stdout.write(f"{summaries_refresh()} days counted.")
