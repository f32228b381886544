"""Everything that is done to a case as a whole. Each move writes its row of the timeline in the same transaction."""

import datetime
import unicodedata
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Site, User
from diagnosis.errors import ServiceError, StateConflict
from diagnosis.models import CameraPreset, Case, Patient, PredictionRun
from diagnosis.selectors.predictions import case_prediction, case_suggestion
from diagnosis.services.case_predictions import Pool, case_predictions_forget, case_predictions_store
from diagnosis.services.images import images_rescale
from diagnosis.services.predictions import runs_cancel, runs_nudge, runs_queue
from diagnosis.services.timeline import timeline_add
from diagnosis.states import (
    CASE_MOVES,
    EDITABLE_STATES,
    OPEN_RUN_STATES,
    WORKLIST_STATES,
    CaseState,
    ImageKind,
    Objective,
    Priority,
    Sex,
    Specimen,
    Stain,
    TimelineKind,
    Triage,
)


def case_move(
    *,
    case: Case,
    to: CaseState,
    actor: User | None,
    reason: str = "",
    only_if: Q | None = None,
    **changes: Any,
) -> None:
    """Move a case by compare-and-set: of two who try at once, one succeeds and the other gets StateConflict.

    `only_if` is a further condition that must hold at the moment of the move; `changes` are columns set with it.
    Must be called in a transaction.
    """
    before = CaseState(case.state)
    if (before, to) not in CASE_MOVES:
        raise StateConflict(f"A case that is {before.label.lower()} cannot become {to.label.lower()}.")
    here = Case.objects.filter(only_if or Q(), pk=case.pk, state=before)
    if here.update(state=to, **changes) != 1:
        raise StateConflict(_moved_on(case))
    case.refresh_from_db()
    timeline_add(case=case, kind=TimelineKind.MOVED, actor=actor, from_state=before, to_state=to, reason=reason)


def _moved_on(case: Case) -> str:
    now = Case.objects.select_related("reader", "signed_by").get(pk=case.pk)
    if now.state == CaseState.SIGNED:
        return f"{now.signed_by} has signed this case meanwhile."
    if now.state == CaseState.IN_REVIEW and now.reader:
        return f"{now.reader} is reading this case."
    return f"This case has changed meanwhile: it is now {now.get_state_display().lower()}. Load the page again."


def patient_find_or_create(
    *,
    site: Site,
    mrn: str,
    family_name: str,
    given_name: str,
    birth_date: datetime.date | None,
    sex: Sex | str,
) -> Patient:
    """The site's patient with this MRN. What is known of a patient is not overwritten by a new case; where the case
    says that it is of somebody else, the MRN on its label is likely wrong, and the case must not get this patient."""
    patient, created = Patient.objects.get_or_create(
        site=site,
        mrn=mrn,
        defaults={
            "family_name": family_name,
            "given_name": given_name,
            "birth_date": birth_date,
            "sex": sex,
        },
    )
    if not created:
        for field in patient_contradicted(patient, family_name=family_name, birth_date=birth_date):
            raise ServiceError(mrn_belongs_to(patient, field), field=field)
    return patient


def patient_contradicted(patient: Patient, *, family_name: str, birth_date: datetime.date | None) -> list[str]:
    """The fields that speak of another person; what was left out, or is not known of the patient, does not."""
    differs = {
        "family_name": bool(family_name) and _folded(family_name) != _folded(patient.family_name),
        "birth_date": None not in (birth_date, patient.birth_date) and birth_date != patient.birth_date,
    }
    return [field for field, true in differs.items() if true]


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def mrn_belongs_to(patient: Patient, field: str) -> str:
    born = f", born {patient.birth_date.day} {patient.birth_date:%B %Y}" if patient.birth_date else ""
    what = {"family_name": "name", "birth_date": "birth date"}[field]
    return f"MRN {patient.mrn} belongs to {patient}{born}. Check the label, or clear the {what}."


def accession_taken(*, site: Site, accession_number: str, besides: Case | None = None) -> bool:
    cases = Case.objects.filter(site=site, accession_number=accession_number)
    return cases.exclude(pk=besides.pk).exists() if besides else cases.exists()


ACCESSION_TAKEN = "This accession number belongs to another case. Check the label and scan it again."


@transaction.atomic
def case_create(
    *,
    actor: User,
    patient: Patient,
    accession_number: str,
    specimen: Specimen | str = Specimen.PERIPHERAL_BLOOD,
    stain: Stain | str = Stain.WRIGHT_GIEMSA,
    objective: Objective | str = Objective.X100,
    camera: CameraPreset | None = None,
    image_kind: ImageKind | str = ImageKind.FIELD,
    priority: Priority | int = Priority.ROUTINE,
    clinical_note: str = "",
) -> Case:
    """A new draft at the actor's site."""
    if actor.site is None:
        raise ServiceError("Only somebody of a laboratory can create a case.")
    try:
        with transaction.atomic():
            case = Case.objects.create(
                site=actor.site,
                patient=patient,
                accession_number=accession_number,
                specimen=specimen,
                stain=stain,
                objective=objective,
                camera=camera,
                image_kind=image_kind,
                priority=priority,
                clinical_note=clinical_note,
                submitted_by=actor,
            )
    except IntegrityError as error:
        if "case_accession_once_per_site" not in str(error):
            raise
        raise ServiceError(ACCESSION_TAKEN, field="accession_number") from error
    timeline_add(case=case, kind=TimelineKind.CREATED, actor=actor, to_state=case.state)
    return case


@transaction.atomic
def case_update(*, case: Case, actor: User, **values: Any) -> Case:
    """Change what a draft or returned case says of its specimen."""
    case = Case.objects.select_for_update().get(pk=case.pk)
    if case.state not in EDITABLE_STATES:
        raise StateConflict("Only a draft or a returned case can be changed.")
    changed = [name for name, value in values.items() if getattr(case, name) != value]
    if not changed:
        return case
    for name in changed:
        setattr(case, name, values[name])
    try:
        with transaction.atomic():
            case.save(update_fields=changed)
    except IntegrityError as error:
        if "case_accession_once_per_site" not in str(error):
            raise
        raise ServiceError(ACCESSION_TAKEN, field="accession_number") from error
    if "camera" in changed:
        images_rescale(case=case, actor=actor)
    timeline_add(
        case=case,
        kind=TimelineKind.EDITED,
        actor=actor,
        reason="Changed: " + ", ".join(sorted(name.replace("_", " ") for name in changed)) + ".",
    )
    return case


def case_submit(*, case: Case, actor: User) -> bool:
    """Hand the case in: its runs are queued in the same transaction, then the workers are told.

    Returns whether a worker could be told at once. When not, nothing is lost: the rows are the queue, and the
    sweeper will find them.
    """
    with transaction.atomic():
        images = list(case.images.filter(withdrawn_at__isnull=True))
        if not images:
            raise ServiceError("Add at least one image before you submit the case.", field="images")
        case_move(
            case=case,
            to=CaseState.SUBMITTED,
            actor=actor,
            reason=f"{len(images)} image{'s' if len(images) > 1 else ''}.",
            submitted_at=Now(),
            ready_at=None,
            reader=None,
            first_reader=None,
            triage=Triage.NONE,
            returned_reason="",
        )
        case_predictions_forget(case=case)
        runs_queue(case=case, images=images)
    case_advance(case=case)
    return runs_nudge()


def case_advance(*, case: Case, pool: Pool | None = None) -> bool:
    """Once every run of a case is at an end, whatever the end was: put its predictions together, with the worker's
    `pool`, and move it on to its reader. Returns whether it moved.

    A run that is tried again ends when the case has moved on already: then its predictions are put together anew. What
    was signed stays as it was seen. The row lock makes two workers that finish the last two runs at once take turns,
    so the later one sees both.
    """
    with transaction.atomic():
        case = Case.objects.select_for_update().get(pk=case.pk)
        if case.state not in (CaseState.SUBMITTED, *WORKLIST_STATES):
            return False
        runs = PredictionRun.objects.of_cases().filter(image__case=case, image__withdrawn_at__isnull=True)
        if runs.filter(state__in=OPEN_RUN_STATES).exists():
            return False
        if pool is not None:
            case_predictions_store(case=case, pooled=pool(case))
        if case.state != CaseState.SUBMITTED:
            return False
        case_move(
            case=case,
            to=CaseState.AWAITING_REVIEW,
            actor=None,
            reason=_runs_in_words(case),
            ready_at=Now(),
            triage=_triage(case),
        )
    return True


# Healthy marrow has fewer than one blast in twenty cells, healthy blood none.
CRITICAL_SHARE = 0.05


def _triage(case: Case) -> Triage:
    suggestion = case_suggestion(case)
    if suggestion is None:
        return _triage_by_cells(case)
    if suggestion.uncertain:
        return Triage.UNCERTAIN
    return Triage.CRITICAL if suggestion.malignant else Triage.NONE


def _triage_by_cells(case: Case) -> Triage:
    """Critical when malignant cells are surely too many; uncertain when they may be, or when nothing was counted."""
    row = case_prediction(case)
    malignant = (row.differential or {}).get("malignant") if row else None
    if malignant is None or malignant["share"]["high"] <= CRITICAL_SHARE:
        return Triage.NONE if row and (row.differential or {}).get("cells") else Triage.UNCERTAIN
    return Triage.CRITICAL if malignant["share"]["low"] > CRITICAL_SHARE else Triage.UNCERTAIN


def _runs_in_words(case: Case) -> str:
    runs = PredictionRun.objects.of_cases().filter(image__case=case, image__withdrawn_at__isnull=True)
    states = list(runs.values_list("state", flat=True))
    if not states:
        return "No active model looks at this kind of image."
    words = {"succeeded": "predicted", "refused": "refused", "failed": "failed"}
    parts = [f"{states.count(state)} {word}" for state, word in words.items() if state in states]
    return "Predictions finished: " + ", ".join(parts) + "."


@transaction.atomic
def case_cancel(*, case: Case, actor: User, reason: str) -> None:
    """Withdraw a case before reading starts; runs that still wait are cancelled."""
    if not reason.strip():
        raise ServiceError("Say why the case is cancelled.", field="reason")
    case_move(case=case, to=CaseState.CANCELLED, actor=actor, reason=reason)
    runs_cancel(case=case)


@transaction.atomic
def case_return(*, case: Case, actor: User, reason: str) -> None:
    """Send the case back to the technician, who is told why."""
    if not reason.strip():
        raise ServiceError("Say what the technician should correct.", field="reason")
    mine = Q(reader=actor) if case.state == CaseState.IN_REVIEW else None
    case_move(
        case=case,
        to=CaseState.RETURNED,
        actor=actor,
        reason=reason,
        only_if=mine,
        returned_reason=reason,
        reader=None,
    )
    runs_cancel(case=case)


@transaction.atomic
def case_claim(*, case: Case, actor: User) -> None:
    """Start to read a case that waits, or the second read somebody asked for."""
    if case.submitted_by_id == actor.pk:
        raise ServiceError("You submitted this case, so another haematologist must read it.")
    if case.state == CaseState.AWAITING_REVIEW:
        case_move(case=case, to=CaseState.IN_REVIEW, actor=actor, reader=actor)
        return
    waiting = Case.objects.filter(pk=case.pk, state=CaseState.SECOND_READ, reader__isnull=True)
    if waiting.exclude(first_reader=actor).update(reader=actor) != 1:
        raise StateConflict(
            "You asked for this second read: another haematologist must give it."
            if case.state == CaseState.SECOND_READ and case.first_reader_id == actor.pk
            else _moved_on(case)
        )
    case.refresh_from_db()
    timeline_add(case=case, kind=TimelineKind.READER_CHANGED, actor=actor, reason="Second read started.")


@transaction.atomic
def case_take_over(*, case: Case, actor: User, reason: str) -> None:
    """Go on with a case whose reader cannot."""
    if not reason.strip():
        raise ServiceError("Say why you take the case over.", field="reason")
    if case.submitted_by_id == actor.pk:
        raise ServiceError("You submitted this case, so another haematologist must read it.")
    being_read = Q(state=CaseState.IN_REVIEW) | Q(state=CaseState.SECOND_READ) & ~Q(first_reader=actor)
    taken = Case.objects.filter(being_read, pk=case.pk, state=case.state).exclude(reader=actor)
    if case.reader_id is None or taken.filter(reader=case.reader_id).update(reader=actor) != 1:
        raise StateConflict(_moved_on(case))
    case.refresh_from_db()
    timeline_add(case=case, kind=TimelineKind.READER_CHANGED, actor=actor, reason=reason)


@transaction.atomic
def case_ask_second_read(*, case: Case, actor: User, reason: str) -> None:
    """Ask another haematologist to read and sign."""
    if not reason.strip():
        raise ServiceError("Say what the second reader should look at.", field="reason")
    case_move(
        case=case,
        to=CaseState.SECOND_READ,
        actor=actor,
        reason=reason,
        only_if=Q(reader=actor),
        first_reader=actor,
        reader=None,
    )
