from typing import Any

from django.core.management.base import BaseCommand, CommandError

from diagnosis.models import Report
from diagnosis.selectors.chain import chain_faults


class Command(BaseCommand):
    help = "Check that every version of every report is what was signed; name those that are not and exit with 1."

    def handle(self, *args: Any, **options: Any) -> None:
        faults = 0
        for fault in chain_faults():
            faults += 1
            self.stderr.write(fault)
        if faults:
            raise CommandError(f"{faults} faults found in the reports.", returncode=1)
        self.stdout.write(f"{Report.objects.count()} report versions are what was signed.")
