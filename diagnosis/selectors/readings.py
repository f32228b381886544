"""What has been read of a case, and who may see its predictions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.db.models import QuerySet

from accounts.models import User
from diagnosis.models import Case, CasePrediction, ModelVersion, PredictionRun, Reading, SmearImage, TimelineEvent
from diagnosis.reasons import FLAGS, REASONS
from diagnosis.selectors.cells import Differential, stored_differential
from diagnosis.selectors.predictions import (
    Suggestion,
    case_model_version,
    case_prediction,
    pooled_suggestion,
    run_suggestion,
    stored_suggestion,
)
from diagnosis.states import OPEN_RUN_STATES, READING_STATES, CaseState, ReadingStage, RunState

READ_CASES = "diagnosis.read_case"


def readings_of(case: Case) -> list[Reading]:
    """All that was ever read of a case and of its images, the newest last."""
    return list(Reading.objects.filter(case=case).select_related("reader").order_by("id"))


def own_read(case: Case, user: User, readings: Iterable[Reading] | None = None) -> Reading | None:
    """The user's own read of the case as it was last submitted; among these readings, or asked for."""
    if readings is None:
        readings = Reading.objects.filter(case=case, image__isnull=True, reader=user).order_by("id")
    return _newest(case, ReadingStage.OWN, (entry for entry in readings if entry.reader_id == user.pk))


def conclusion(case: Case, readings: Iterable[Reading]) -> Reading | None:
    """The newest conclusion on the case as a whole: by whoever reads it now; of a signed case by whoever signed or
    amended it last."""
    signed = case.state == CaseState.SIGNED
    by = (entry for entry in readings if signed or entry.reader_id == case.reader_id)
    return _newest(case, ReadingStage.INFORMED, by)


def _newest(case: Case, stage: ReadingStage, readings: Iterable[Reading]) -> Reading | None:
    """The last one of the case as a whole since it was submitted."""
    found = [
        entry
        for entry in readings
        if entry.image_id is None
        and entry.stage == stage
        and (case.submitted_at is None or entry.created_at >= case.submitted_at)
    ]
    return found[-1] if found else None


def predictions_revealed(case: Case, user: User, readings: Iterable[Reading] | None = None) -> bool:
    """Whether the server may send this user the predictions of this case.

    Readers only; and where the site wants the own read first, only after it, or once the case is signed.
    """
    if not user.has_perm(READ_CASES):
        return False
    if case.state == CaseState.SIGNED or not case.site.own_read_first:
        return True
    return own_read(case, user, readings) is not None


@dataclass(frozen=True)
class Finding:
    """A button of the reading station: a class of the task, or a general finding."""

    code: str
    title: str
    colour: str
    key: str
    description: str = ""


GENERAL_COLOUR = "#6c757d"


def findings(model_version: ModelVersion | None) -> list[Finding]:
    """The classes of the model's task, then the general findings, with the digit that chooses each."""
    classes = model_version.classes if model_version else []
    entries = [(c["code"], c["title"], c["colour"], c.get("description", "")) for c in classes]
    entries += [(code, title, GENERAL_COLOUR, "") for code, title in Reading.GENERAL_FINDINGS]
    return [
        Finding(code, title, colour, str(number) if number <= 9 else "", description)
        for number, (code, title, colour, description) in enumerate(entries, start=1)
    ]


@dataclass(frozen=True)
class Flag:
    """Why the model's answer is to be doubted whatever it says: one of diagnosis.reasons.FLAGS."""

    code: str
    sentence: str
    count: int = 1


@dataclass(frozen=True)
class ImageView:
    """One image as its reader may see it: without the prediction until that is revealed."""

    image: SmearImage
    run_state: str
    run_note: str
    run: PredictionRun | None
    suggestion: Suggestion | None
    flags: tuple[Flag, ...]
    reading: Reading | None
    reading_title: str


@dataclass(frozen=True)
class CaseReading:
    """Everything the reading station shows of a case to one user."""

    case: Case
    model_version: ModelVersion | None
    findings: list[Finding]
    images: list[ImageView]
    revealed: bool
    own_read: Reading | None
    own_read_title: str
    suggestion: Suggestion | None
    differential: Differential | None
    flags: tuple[Flag, ...]
    conclusion: Reading | None
    conclusion_title: str
    blockers: list[str]
    images_asked: int
    images_predicted: int

    @property
    def agreeable(self) -> int:
        """How many images could be agreed on at once: without a reading, and with a prediction that is certain."""
        unread = (view.suggestion for view in self.images if view.reading is None)
        return sum(suggestion is not None and not suggestion.uncertain for suggestion in unread)

    @property
    def predicted(self) -> bool:
        return any(view.suggestion for view in self.images)

    @property
    def images_in_order(self) -> list[ImageView]:
        """As they were uploaded, and as the report lists them."""
        return sorted(self.images, key=lambda view: view.image.position)


def case_reading(case: Case, user: User) -> CaseReading:
    """Five queries, however many images: the model, the images, their runs, what was read, and, once that may be
    seen, what the predictions say together."""
    model_version = case_model_version(case)
    readings = readings_of(case) if user.has_perm(READ_CASES) else []
    revealed = predictions_revealed(case, user, readings)
    choices = findings(model_version)
    titles = {finding.code: finding.title for finding in choices}
    runs = list(_runs_of(case))
    asked = {run.image_id for run in runs}
    waiting = {run.image_id for run in runs if run.state in OPEN_RUN_STATES}
    # A second reader who has not given an own read yet sees the readings of others as little as the predictions.
    visible = [entry for entry in readings if revealed or entry.reader_id == user.pk]
    images = _image_views(case, runs, visible, model_version, revealed, titles)
    mine = own_read(case, user, readings)
    final = conclusion(case, readings)
    shown = final if revealed else None  # it may say whether it agrees with the suggestion
    row = case_prediction(case, model_version) if revealed and model_version else None
    return CaseReading(
        case=case,
        model_version=model_version,
        findings=choices,
        images=images,
        revealed=revealed,
        own_read=mine,
        own_read_title=titles.get(mine.finding, mine.finding) if mine else "",
        suggestion=_case_suggestion(row, images, model_version) if revealed and model_version else None,
        differential=stored_differential(row, model_version) if row and model_version else None,
        flags=_flags_together(images),
        conclusion=shown,
        conclusion_title=titles.get(shown.finding, shown.finding) if shown else "",
        blockers=sign_blockers(case, user, images=images, final=final),
        images_asked=len(asked),
        images_predicted=len(asked - waiting),
    )


def _case_suggestion(
    row: CasePrediction | None, images: list[ImageView], model_version: ModelVersion
) -> Suggestion | None:
    if row is not None:
        return stored_suggestion(row, model_version)
    runs = [view.run for view in images if view.run is not None]
    said = [{"state": run.state, "probabilities": run.probabilities, "abstained": run.abstained} for run in runs]
    return pooled_suggestion(model_version, said)


def _runs_of(case: Case) -> QuerySet[PredictionRun]:
    """Of the images that are in the case now, by whichever model."""
    runs = PredictionRun.objects.of_cases().filter(image__case=case, image__withdrawn_at__isnull=True)
    return runs.exclude(state=RunState.CANCELLED).defer("cells")


def _image_views(
    case: Case,
    runs: list[PredictionRun],
    readings: list[Reading],
    model_version: ModelVersion | None,
    revealed: bool,
    titles: dict[str, str],
) -> list[ImageView]:
    """Each image with its run of this model and its newest reading; by class once predictions are revealed."""
    newest = {entry.image_id: entry for entry in readings if entry.image_id}
    of_model = {run.image_id: run for run in runs if model_version and run.model_version_id == model_version.pk}
    views = []
    for image in case.images.filter(withdrawn_at__isnull=True):
        run = of_model.get(image.pk)
        reading = newest.get(image.pk)
        views.append(
            ImageView(
                image=image,
                run_state=run.state if run else "",
                run_note=_run_note(run, model_version),
                run=run if revealed else None,
                suggestion=run_suggestion(run, model_version) if revealed and run and model_version else None,
                flags=flags_of(run, model_version) if revealed and run else (),
                reading=reading,
                reading_title=titles.get(reading.finding, reading.finding) if reading else "",
            )
        )
    if revealed:
        order = {entry["code"]: rank for rank, entry in enumerate(model_version.classes)} if model_version else {}
        views.sort(
            key=lambda view: (
                order.get(view.suggestion.label, len(order)) if view.suggestion else len(order),
                -view.suggestion.confidence if view.suggestion else 0,
                view.image.position,
            )
        )
    return views


def _run_note(run: PredictionRun | None, model_version: ModelVersion | None) -> str:
    """Why there is no prediction, in words; says nothing about a class."""
    if run is None:
        return "No active model looks at this kind of image."
    if run.state == RunState.FAILED:
        return "The prediction failed. Read this image without it."
    if run.state == RunState.REFUSED:
        words = reason_words(model_version, run.reasons)
        return " ".join(["The model refused this image.", *words])
    return ""


def reason_words(model_version: ModelVersion | None, codes: list[str]) -> list[str]:
    """Reason codes of a model as sentences, from its manifest where that has them."""
    known = REASONS | ((model_version.manifest.get("reasons") or {}) if model_version else {})
    return [known.get(code, code.replace("_", " ").capitalize() + ".") for code in codes]


def flags_of(run: PredictionRun, model_version: ModelVersion | None) -> tuple[Flag, ...]:
    codes = [code for code in run.reasons if code in FLAGS]
    return tuple(map(Flag, codes, reason_words(model_version, codes)))


def _flags_together(images: list[ImageView]) -> tuple[Flag, ...]:
    """Each flag of the case once, with the number of images that have it."""
    each = [flag for view in images for flag in view.flags]
    return tuple(replace(flag, count=each.count(flag)) for flag in dict.fromkeys(each))


def second_read_request(case: Case) -> TimelineEvent | None:
    """Who asked for the second read that the case is in, and what they want looked at."""
    if case.state != CaseState.SECOND_READ:
        return None
    asked = case.timeline.filter(to_state=CaseState.SECOND_READ).exclude(from_state=CaseState.SECOND_READ)
    return asked.select_related("actor").last()


def sign_blockers(case: Case, user: User, *, images: list[ImageView], final: Reading | None) -> list[str]:
    """Why this user cannot sign this case now; empty when they can."""
    if case.state not in READING_STATES or case.reader_id != user.pk:
        return ["Only the reader of a case can sign it."]
    blockers = []
    if case.submitted_by_id == user.pk:
        blockers.append("You submitted this case, so another haematologist must sign it.")
    unread = [view.image.position for view in images if view.reading is None]
    if unread:
        shown = ", ".join(str(position) for position in sorted(unread)[:8]) + ("…" if len(unread) > 8 else "")
        blockers.append(f"Read every image first: {len(unread)} without a reading ({shown}).")
    if final is None:
        blockers.append("Enter your conclusion on the case first.")
    return blockers
