"""What a haematologist says of an image or a case. Readings are only ever added."""

from django.db import transaction

from accounts.models import User
from diagnosis.errors import ServiceError, StateConflict
from diagnosis.models import Case, ModelVersion, PredictionRun, Reading, SmearImage
from diagnosis.selectors.predictions import case_model_version, case_suggestion
from diagnosis.selectors.readings import findings, own_read, predictions_revealed
from diagnosis.services.timeline import timeline_add
from diagnosis.states import READING_STATES, ReadingDecision, ReadingStage, RunState, TimelineKind

REASON_NEEDED = "Say why you differ from the suggestion."


def _lock_for_reading(case: Case, actor: User) -> Case:
    """The case, locked: nobody signs or returns it while a reading is written."""
    case = Case.objects.select_for_update(of=("self",)).select_related("site").get(pk=case.pk)
    if case.state not in READING_STATES or case.reader_id != actor.pk:
        raise StateConflict("You are not the reader of this case at the moment. Load the page again.")
    return case


def _check_finding(model_version: ModelVersion | None, finding: str) -> None:
    if finding not in {entry.code for entry in findings(model_version)}:
        raise ServiceError("Choose one of the findings.", field="finding")


@transaction.atomic
def own_read_enter(*, case: Case, actor: User, finding: str, comment: str = "") -> Reading:
    """The reader's opinion before the prediction is seen. From now on the prediction may be shown to them."""
    case = _lock_for_reading(case, actor)
    _check_finding(case_model_version(case), finding)
    if own_read(case, actor) is not None:
        raise StateConflict("Your own read of this case is entered already.")
    if predictions_revealed(case, actor, readings=()):  # there is none, as was just looked up
        raise StateConflict("The prediction has been in view already, so this would not be an own read.")
    reading = Reading.objects.create(
        case=case,
        reader=actor,
        stage=ReadingStage.OWN,
        decision=ReadingDecision.INDEPENDENT,
        finding=finding,
        comment=comment,
    )
    timeline_add(case=case, kind=TimelineKind.REVEALED, actor=actor, reason="Own read entered.")
    return reading


@transaction.atomic
def image_read(
    *, case: Case, image: SmearImage, actor: User, finding: str, reason: str = "", comment: str = ""
) -> Reading:
    """What one image shows. Differing from a prediction in view needs a reason."""
    case = _lock_for_reading(case, actor)
    model_version = case_model_version(case)
    _check_finding(model_version, finding)
    if not predictions_revealed(case, actor):
        return Reading.objects.create(
            case=case,
            image=image,
            reader=actor,
            stage=ReadingStage.OWN,
            decision=ReadingDecision.INDEPENDENT,
            finding=finding,
            comment=comment,
        )
    runs = PredictionRun.objects.of_cases().filter(image=image, model_version=model_version)
    run = runs.filter(state=RunState.SUCCEEDED).first()
    return _informed(case, image, actor, finding, run.label if run else "", run, reason, comment)


@transaction.atomic
def images_agree_all(*, case: Case, actor: User) -> int:
    """Agree with the prediction of every image that has no reading yet; returns how many.

    Uncertain predictions are left out: those want a look each.
    """
    case = _lock_for_reading(case, actor)
    if not predictions_revealed(case, actor):
        raise StateConflict("Enter your own read of the case first.")
    runs = (
        PredictionRun.objects.of_cases()
        .filter(
            image__case=case,
            image__withdrawn_at__isnull=True,
            image__readings__isnull=True,
            model_version=case_model_version(case),
            state=RunState.SUCCEEDED,
            abstained=False,
        )
        .select_related("image")
    )
    for run in runs:
        _informed(case, run.image, actor, run.label, run.label, run, "", "")
    return len(runs)


@transaction.atomic
def case_conclude(*, case: Case, actor: User, finding: str, reason: str = "", comment: str = "") -> Reading:
    """The reader's conclusion on the case as a whole; what the report will say."""
    case = _lock_for_reading(case, actor)
    model_version = case_model_version(case)
    _check_finding(model_version, finding)
    if not predictions_revealed(case, actor):
        raise StateConflict("Enter your own read of the case first.")
    suggestion = case_suggestion(case, model_version)
    suggested = suggestion.label if suggestion and not suggestion.uncertain else ""  # uncertain: nothing is suggested
    return _informed(case, None, actor, finding, suggested, None, reason, comment)


def _informed(
    case: Case,
    image: SmearImage | None,
    actor: User,
    finding: str,
    suggested: str,
    run: PredictionRun | None,
    reason: str,
    comment: str,
) -> Reading:
    decision = ReadingDecision.INDEPENDENT
    if suggested:
        decision = ReadingDecision.AGREE if finding == suggested else ReadingDecision.OVERRIDE
    if decision == ReadingDecision.OVERRIDE and not reason.strip():
        raise ServiceError(REASON_NEEDED, field="reason")
    return Reading.objects.create(
        case=case,
        image=image,
        reader=actor,
        stage=ReadingStage.INFORMED,
        decision=decision,
        finding=finding,
        run=run,
        suggested=suggested,
        reason=reason.strip(),
        comment=comment.strip(),
    )
