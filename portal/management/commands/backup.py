from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal.backup import STANDARD_STREAM, BackupError, backup_write


class Command(BaseCommand):
    help = "Write everything that must last, images included, into one file; people may go on working."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="a new file, or - for standard output")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            backup_write(file)
        except BackupError as error:
            raise CommandError(str(error)) from error
        if file != STANDARD_STREAM:
            self.stdout.write(f"{file}: {file.stat().st_size / 1e6:.1f} MB.")
