"""The peaceful side of a soak: hands cases in while things break, then looks whether each came through, once."""

import io
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Count, Q
from PIL import Image

from accounts.models import Site, User
from diagnosis.errors import ServiceError
from diagnosis.models import Case, Patient, PredictionRun, SmearImage
from diagnosis.services.cases import case_create, case_submit
from diagnosis.services.images import image_add
from diagnosis.states import CASE_PRIORITIES, OPEN_RUN_STATES, CaseState, RunState
from ml import reference

logger = logging.getLogger(__name__)

T = TypeVar("T")

AT_MOST_WAITING = 150
SETTLING_SECONDS = 600.0
PATIENCE_SECONDS = 120.0
TROUBLE = (DatabaseError, InterfaceError, OSError)


@dataclass(frozen=True)
class Verdict:
    """What was handed in and acknowledged, and everything that is wrong with it: nothing, if all is well."""

    cases: int
    images: int
    tried_again: int
    faults: list[str] = field(default_factory=list)


class Laboratory:
    """Two sites that hand cases in as long as it lasts."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.acknowledged: set[UUID] = set()
        self.count = 0
        self.sites = [self._site(code) for code in ("north", "south")]

    def work(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if patiently(waiting) < AT_MOST_WAITING:
                self._hand_in_whatever_happens()
            time.sleep(self.chance.uniform(0.1, 0.8))

    def settle(self, seconds: float = SETTLING_SECONDS) -> None:
        """Until nothing is under way any more, or the time is up."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and patiently(under_way):
            time.sleep(1)

    def _site(self, code: str) -> tuple[User, Patient]:
        site = Site.objects.create(name=f"Soak {code}", code=code)
        technician = User.objects.create(username=f"soak-{code}", site=site)
        return technician, Patient.objects.create(site=site, mrn=f"S-{code}", family_name="Soak")

    def _hand_in_whatever_happens(self) -> None:
        """A page that answered with an error has promised nothing; its user would try again with a new case."""
        try:
            self.acknowledged.add(self._hand_in())
        except (*TROUBLE, ServiceError) as error:
            logger.warning("Not handed in: %s", str(error).splitlines()[:1])
            connection.close()

    def _hand_in(self) -> UUID:
        self.count += 1
        technician, patient = self.chance.choice(self.sites)
        priority = self.chance.choice(CASE_PRIORITIES)
        case = case_create(actor=technician, patient=patient, accession_number=f"S-{self.count}", priority=priority)
        for number in range(self.chance.randint(1, 6)):
            image_add(case=case, actor=technician, upload=self._picture(), file_name=f"{number}.png")
        case_submit(case=case, actor=technician)
        return case.pk

    def _picture(self) -> io.BytesIO:
        buffer = io.BytesIO()
        Image.fromarray(reference.draw_smear(self.chance.getrandbits(31))).save(buffer, "PNG")
        buffer.seek(0)
        return buffer


def patiently(look: Callable[[], T]) -> T:
    """Look again while the database is away."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return look()
        except TROUBLE:
            connection.close()
            if time.monotonic() > ends:
                raise
            time.sleep(0.5)


def waiting() -> int:
    return PredictionRun.objects.filter(state=RunState.QUEUED).count()


def under_way() -> bool:
    submitted = Case.objects.filter(state=CaseState.SUBMITTED)
    return submitted.exists() or PredictionRun.objects.filter(state__in=OPEN_RUN_STATES).exists()


def verdict(acknowledged: set[UUID]) -> Verdict:
    """Holds every acknowledged case against what the database has of it."""
    cases = Case.objects.filter(submitted_at__isnull=False)
    runs = PredictionRun.objects.filter(image__case__in=cases)
    states = Counter(runs.values_list("state", flat=True))
    missing = acknowledged - set(cases.values_list("pk", flat=True))
    faults = [f"{len(missing)} cases are gone"] * bool(missing)
    stuck = cases.exclude(state=CaseState.AWAITING_REVIEW).count()
    faults += [f"{stuck} cases did not move on"] * bool(stuck)
    faults += [
        f"{number} runs are {state}"
        for state, number in states.items()
        if state not in (RunState.SUCCEEDED, RunState.REFUSED)
    ]
    images = SmearImage.objects.filter(case__in=cases).annotate(results=Count("runs"))
    without, several = images.filter(results=0).count(), images.filter(results__gt=1).count()
    faults += [f"{without} images have no result"] * bool(without)
    faults += [f"{several} images have several results"] * bool(several)
    moves = Count("timeline", filter=Q(timeline__to_state=CaseState.AWAITING_REVIEW))
    twice = cases.annotate(moves=moves).exclude(moves=1).count()
    faults += [f"{twice} cases did not move on exactly once"] * bool(twice)
    return Verdict(cases.count(), images.count(), runs.filter(attempts__gt=1).count(), faults)
