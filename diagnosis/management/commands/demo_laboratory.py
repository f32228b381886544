"""Fill an empty installation with a small laboratory to look around in."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.management.commands.first_run import FILE
from diagnosis.dashboards.summaries import summaries_refresh
from diagnosis.demo.pictures import DrawnPictures, FolderPictures, NoPictures, Pictures
from diagnosis.demo.plan import CASES, Ending, PlannedCase
from diagnosis.demo.staff import NoFirstSite, keep_accounts, staff_find_or_create
from diagnosis.demo.staging import (
    Staff,
    bring_in,
    case_of,
    conduct,
    demonstration_cases,
    make_older,
    predictions_open,
    submit,
)
from diagnosis.models import Case
from diagnosis.selectors.queue import processing_delayed
from diagnosis.states import CaseState

NOBODY_SECONDS = 20


class Command(BaseCommand):
    help = "Make two laboratories with invented patients and cases in every state. Predictions are the model's own."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--images", type=Path, metavar="DIR", help="smears, one folder a class (default: drawn)")
        parser.add_argument("--wait", type=int, default=300, metavar="SECONDS", help="for the predictions (300)")
        parser.add_argument("--force", action="store_true", help="also where there are real cases")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["force"] and Case.objects.exclude(pk__in=demonstration_cases().values("pk")).exists():
            raise CommandError(
                "There are real cases here, and the demonstration is not mixed in with them (but: --force)."
            )
        pictures = _pictures(options["images"])
        try:
            home, away, accounts = staff_find_or_create()
        except NoFirstSite as error:
            raise CommandError("There is no laboratory yet: run manage.py first_run before.") from error
        self._tell_accounts(accounts)
        todo = [(planned, home if planned.home else away) for planned in CASES]
        if all(_done(planned, staff) for planned, staff in todo):
            self.stdout.write("The demonstration is here already.")
            return
        self._stage(todo, pictures, options["wait"])

    def _stage(self, todo: list[tuple[PlannedCase, Staff]], pictures: Pictures, wait: int) -> None:
        last = [(planned, staff) for planned, staff in todo if planned.ending == Ending.SUBMITTED]
        for planned, staff in todo:
            case = bring_in(planned, staff, pictures)
            if (planned, staff) not in last:
                submit(planned, case, staff)
        self.stdout.write(f"{len(todo)} cases with {pictures.source}.")
        ready = self._wait(wait)
        for planned, staff in todo:
            if staged := case_of(planned, staff):
                make_older(planned, staged)
                conduct(planned, staged, staff, pictures.truth(planned))
        if ready:
            for planned, staff in last:
                submit(planned, bring_in(planned, staff, pictures), staff)
            summaries_refresh()
            self.stdout.write("The demonstration is ready.")

    def _wait(self, seconds: int) -> bool:
        """Until the workers have predicted everything. Nothing is made up in their place."""
        deadline = time.monotonic() + seconds
        nobody_since = time.monotonic()
        total = open_before = predictions_open()
        while left := predictions_open():
            if not processing_delayed():
                nobody_since = time.monotonic()
            if left != open_before:
                self.stdout.write(f"  {total - left} of {total} images predicted")
                open_before = left
            now = time.monotonic()
            if now > deadline or now - nobody_since > min(NOBODY_SECONDS, seconds):
                self.stdout.write(
                    f"{left} images still wait for a worker, so the demonstration is half made. "
                    "See that a worker runs (manage.py queue_status), then give this command again: it goes on."
                )
                return False
            time.sleep(0.5)
        return True

    def _tell_accounts(self, accounts: list[tuple[str, str]]) -> None:
        if not accounts:
            return
        lines = [f"{name:<20} {password}" for name, password in accounts]
        keep_accounts(FILE, lines)
        self.stdout.write("More accounts (shown this once; kept in var/first-run-accounts.txt):")
        for line in lines:
            self.stdout.write(f"  {line}")


def _pictures(folder: Path | None) -> Pictures:
    if folder is None:
        return DrawnPictures()
    if not folder.is_dir():
        raise CommandError(f"{folder} is not a folder.")
    try:
        return FolderPictures(folder)
    except NoPictures as error:
        raise CommandError(str(error)) from error


def _done(planned: PlannedCase, staff: Staff) -> bool:
    """Whether the case has come to its state, or past it by a visitor's hand."""
    case = case_of(planned, staff)
    if case is None:
        return False
    on_the_way = {CaseState.DRAFT, CaseState.SUBMITTED, CaseState.AWAITING_REVIEW}
    rests = {
        Ending.DRAFT: {CaseState.DRAFT},
        Ending.SUBMITTED: {CaseState.SUBMITTED, CaseState.AWAITING_REVIEW},
        Ending.AWAITING: {CaseState.AWAITING_REVIEW},
    }.get(planned.ending, set())
    return case.state in rests or case.state not in on_the_way
