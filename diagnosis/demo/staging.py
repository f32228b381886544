"""Bringing the planned cases to their states through the services, as the people of the laboratory would.

Every step looks at where a case is and takes it one further, so a demonstration that was broken off is gone on with.
"""

import datetime
import io
from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts.models import Site, User
from diagnosis.demo.pictures import Pictures
from diagnosis.demo.plan import MARK, Ending, PlannedCase
from diagnosis.models import Case, PredictionRun, Reading, SmearImage
from diagnosis.selectors.predictions import case_suggestion
from diagnosis.selectors.readings import findings, own_read, predictions_revealed
from diagnosis.services.cases import (
    case_ask_second_read,
    case_cancel,
    case_claim,
    case_create,
    case_return,
    case_submit,
    patient_find_or_create,
)
from diagnosis.services.images import image_add
from diagnosis.services.readings import case_conclude, image_read, images_agree_all, own_read_enter
from diagnosis.services.reports import case_sign, report_amend
from diagnosis.states import OPEN_RUN_STATES, CaseState


@dataclass(frozen=True)
class Staff:
    """The people of one site."""

    site: Site
    technician: User
    haematologist: User


def demonstration_cases() -> QuerySet[Case]:
    return Case.objects.filter(clinical_note__startswith=MARK)


def case_of(planned: PlannedCase, staff: Staff) -> Case | None:
    return demonstration_cases().filter(site=staff.site, accession_number=planned.accession_number).first()


def bring_in(planned: PlannedCase, staff: Staff, pictures: Pictures) -> Case:
    """The draft with its images. One that was broken off gets the images it lacks."""
    case = case_of(planned, staff) or _draft(planned, staff, pictures)
    if case.state == CaseState.DRAFT:
        present = set(case.images.values_list("file_name", flat=True))
        for name, data in pictures.of(planned):
            if name not in present:
                image_add(case=case, actor=staff.technician, upload=io.BytesIO(data), file_name=name)
    return case


def _draft(planned: PlannedCase, staff: Staff, pictures: Pictures) -> Case:
    person = planned.person
    patient = patient_find_or_create(
        site=staff.site,
        mrn=person.mrn,
        family_name=person.family_name,
        given_name=person.given_name,
        birth_date=person.birth_date,
        sex=person.sex,
    )
    return case_create(
        actor=staff.technician,
        patient=patient,
        accession_number=planned.accession_number,
        specimen=planned.specimen,
        stain=planned.stain,
        priority=planned.priority,
        clinical_note=f"{MARK} ({pictures.source}). {planned.note}",
    )


def submit(planned: PlannedCase, case: Case, staff: Staff) -> None:
    if case.state == CaseState.DRAFT and planned.ending != Ending.DRAFT:
        case_submit(case=case, actor=staff.technician)


def predictions_open() -> int:
    return PredictionRun.objects.filter(image__case__in=demonstration_cases(), state__in=OPEN_RUN_STATES).count()


def make_older(planned: PlannedCase, case: Case) -> None:
    """Move what a case says of its own times into the past, once.

    Its timeline, readings and reports are append-only and keep the truth: the moment the demonstration was made. So a
    case is made older before it is read, and what is signed was handed in within its target of turnaround time.
    """
    desk = datetime.timedelta(minutes=3 + 2 * planned.images)
    submitted = Now() - planned.submitted_ago
    young = Case.objects.filter(pk=case.pk, created_at__gt=submitted)
    if case.state == CaseState.SUBMITTED or young.update(created_at=submitted - desk) != 1:
        return
    Case.objects.filter(pk=case.pk, submitted_at__isnull=False).update(submitted_at=submitted)
    Case.objects.filter(pk=case.pk, ready_at__isnull=False).update(
        ready_at=submitted + datetime.timedelta(seconds=2 * planned.images)
    )
    SmearImage.objects.filter(case=case).update(
        created_at=submitted - desk + F("position") * datetime.timedelta(minutes=1)
    )
    case.refresh_from_db()


def conduct(planned: PlannedCase, case: Case, staff: Staff, truth: str) -> None:
    """From where the predictions left it to where the visitor finds it."""
    if case.state == CaseState.AWAITING_REVIEW:
        STEPS[planned.ending](Desk(case, staff, truth))


class Desk:
    """One case in front of the site's haematologist."""

    def __init__(self, case: Case, staff: Staff, truth: str) -> None:
        self.case, self.staff, self.reader = case, staff, staff.haematologist
        suggestion = case_suggestion(case)
        self.suggested = suggestion.label if suggestion else Reading.OTHER
        classes = suggestion.model_version.classes if suggestion else []
        self.codes = [entry["code"] for entry in classes]
        self.malignant = {entry["code"]: entry["malignant"] for entry in classes}
        self.truth = truth if truth in self.codes else self.suggested

    def claim(self) -> None:
        case_claim(case=self.case, actor=self.reader)

    def own_read(self, finding: str) -> None:
        if not predictions_revealed(self.case, self.reader) and own_read(self.case, self.reader) is None:
            own_read_enter(case=self.case, actor=self.reader, finding=finding)

    def read_images(self) -> None:
        """Agree where the model is sure; look at the others one by one."""
        images_agree_all(case=self.case, actor=self.reader)
        for image in self.case.images.filter(withdrawn_at__isnull=True, readings__isnull=True):
            run = image.runs.filter(label__gt="").first()
            finding = run.label if run else Reading.UNUSABLE
            image_read(case=self.case, image=image, actor=self.reader, finding=finding)

    def another(self) -> str:
        """A finding that differs from the suggestion: what the images are known to show, else the class beside it."""
        if self.truth != self.suggested:
            return self.truth
        others = [code for code in self.codes if code != self.suggested]
        alike = [code for code in others if self.malignant[code] == self.malignant[self.suggested]]
        return next(iter(alike or others), findings(None)[0].code)


def _nothing(desk: Desk) -> None:
    """The case stays where it is."""


def _read(desk: Desk) -> None:
    """Begun: the own read is given."""
    desk.claim()
    desk.own_read(desk.truth)


def _ask_second_read(desk: Desk) -> None:
    desk.claim()
    desk.own_read(desk.truth)
    desk.read_images()
    case_ask_second_read(
        case=desk.case, actor=desk.reader, reason="Few cells, and some could be haematogones. Please look at image 2."
    )


def _return(desk: Desk) -> None:
    desk.claim()
    case_return(case=desk.case, actor=desk.reader, reason="Image 2 cannot be read well: please take this field again.")


def _sign(desk: Desk) -> None:
    desk.claim()
    desk.own_read(desk.truth)
    desk.read_images()
    case_conclude(
        case=desk.case,
        actor=desk.reader,
        finding=desk.suggested,
        comment="In keeping with the smear. Flow cytometry is to decide.",
    )
    case_sign(case=desk.case, actor=desk.reader)


def _override(desk: Desk) -> None:
    desk.claim()
    finding = desk.another()
    desk.own_read(finding)
    desk.read_images()
    case_conclude(
        case=desk.case,
        actor=desk.reader,
        finding=finding,
        reason="Chromatin and nucleoli speak against the suggestion; the patient's course does too.",
        comment="Flow cytometry requested.",
    )
    case_sign(case=desk.case, actor=desk.reader)


def _amend(desk: Desk) -> None:
    _sign(desk)
    report_amend(
        case=desk.case,
        actor=desk.reader,
        finding=desk.another(),
        comment="Conclusion changed after flow cytometry.",
        reason="The result of flow cytometry came in after sign-out.",
    )


def _cancel(desk: Desk) -> None:
    case_cancel(case=desk.case, actor=desk.staff.technician, reason="Registered twice: same tube as H26-01931.")


STEPS: dict[Ending, Callable[[Desk], None]] = {
    Ending.DRAFT: _nothing,
    Ending.SUBMITTED: _nothing,
    Ending.AWAITING: _nothing,
    Ending.IN_REVIEW: _read,
    Ending.SECOND_READ: _ask_second_read,
    Ending.RETURNED: _return,
    Ending.SIGNED: _sign,
    Ending.OVERRIDDEN: _override,
    Ending.AMENDED: _amend,
    Ending.CANCELLED: _cancel,
}
