from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import ProgrammingError

from diagnosis.models import Case
from portal.backup import BackupError, backup_restore, contents


class Command(BaseCommand):
    help = "Fill an installation that has no cases from a backup, and check every file and report in it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="what backup wrote, or - for standard input")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        if self._cases_here():
            raise CommandError("There are cases here, and none is ever overwritten. Restore into an empty database.")
        try:
            backup_restore(file)
        except BackupError as error:
            raise CommandError(f"Nothing was changed: {error}") from error
        call_command("migrate", interactive=False, verbosity=0)
        found = contents()
        self.stdout.write(f"{found.cases} cases, {found.images} images and {found.reports} reports are restored.")
        if found.images_without_bytes or found.files_altered:
            raise CommandError(
                f"{found.images_without_bytes} images have no bytes, "
                f"{found.files_altered} files are not what they were."
            )
        self.stdout.write("Every image is there, and every file has the hash it was stored under.")
        call_command("verify_chain", stdout=self.stdout, stderr=self.stderr)

    def _cases_here(self) -> bool:
        """A database that was never migrated holds none either."""
        try:
            return Case.objects.exists()
        except ProgrammingError:
            return False
