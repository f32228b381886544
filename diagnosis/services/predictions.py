"""Queueing, cancelling and retrying prediction runs. Claiming and writing back are the worker's (worker.claiming)."""

from collections.abc import Iterable, Iterator
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.models import User
from diagnosis.errors import ServiceError, StateConflict
from diagnosis.models import Case, ModelActivation, ModelEvaluation, ModelVersion, PredictionRun, SmearImage
from diagnosis.services.timeline import timeline_add
from diagnosis.signals import runs_queued
from diagnosis.states import CaseState, ModelStatus, Priority, RunState, TimelineKind


def runs_queue(*, case: Case, images: Iterable[SmearImage]) -> None:
    """One run for each image and model that looks at this kind of image; what ran before stays.

    Active models' runs have the case's priority. Shadow models look too, at backfill priority: no case waits for them
    and no reader sees them. A run that was made for comparison becomes the case's once its version is active.
    """
    images = list(images)
    serving = [ModelStatus.ACTIVE, ModelStatus.SHADOW]
    for model_version in ModelVersion.objects.filter(status__in=serving, input_kind=case.image_kind):
        active = model_version.status == ModelStatus.ACTIVE
        priority = case.priority if active else Priority.BACKFILL
        _runs_create(model_version, [image.pk for image in images], priority)
        if active:
            there = PredictionRun.objects.filter(model_version=model_version, image__in=images)
            there.filter(priority=Priority.BACKFILL).exclude(state=RunState.CANCELLED).update(priority=priority)


def _runs_create(model_version: ModelVersion, images: Iterable[UUID], priority: int) -> None:
    """The constraint of one run per image and version decides, so two who do this at once make each run once."""
    PredictionRun.objects.bulk_create(
        [PredictionRun(image_id=pk, model_version=model_version, priority=priority) for pk in images],
        ignore_conflicts=True,
    )


def runs_cancel(*, case: Case) -> None:
    """Take the case's waiting runs out of the queue; one that is running is left to end."""
    PredictionRun.objects.filter(image__case=case, state=RunState.QUEUED).update(
        state=RunState.CANCELLED, finished_at=Now()
    )


def runs_nudge() -> bool:
    """Tell the workers that something waits. False when they could not be told; the sweeper will see to it."""
    return any(delivered for _, delivered in runs_queued.send(sender=None))


def run_retry(*, run: PredictionRun, actor: User) -> None:
    """Queue a failed run again, with all its attempts before it."""
    with transaction.atomic():
        failed = PredictionRun.objects.filter(pk=run.pk, state=RunState.FAILED)
        if failed.update(state=RunState.QUEUED, attempts=0, finished_at=None, error="", queued_at=Now()) != 1:
            raise StateConflict("Only a failed run can be queued again.")
        timeline_add(
            case=run.image.case,
            kind=TimelineKind.RUN_RETRIED,
            actor=actor,
            reason=f"Image {run.image.position}.",
        )
    runs_nudge()


@transaction.atomic
def model_version_register(*, manifest: dict, weights_sha256: str) -> ModelVersion:
    """Make a released model known. The first of its task becomes active, later ones wait as candidates.

    An experimental model is never made active here.
    """
    known = ModelVersion.objects.filter(task=manifest["task"], version=manifest["version"]).first()
    if known:
        return known
    active = ModelVersion.objects.filter(task=manifest["task"], status=ModelStatus.ACTIVE).exists()
    experimental = manifest.get("experimental", False)
    version = ModelVersion.objects.create(
        task=manifest["task"],
        version=manifest["version"],
        title=manifest["title"],
        input_kind=manifest["input"],
        weights_sha256=weights_sha256,
        manifest=manifest,
        status=ModelStatus.CANDIDATE if active or experimental else ModelStatus.ACTIVE,
    )
    if version.status == ModelStatus.ACTIVE:
        ModelActivation.objects.create(model_version=version)
    return version


def model_version_shadow(*, model_version: ModelVersion) -> None:
    """Let a candidate look at what comes in beside the active version, unseen, so that both can be compared."""
    waiting = ModelVersion.objects.filter(pk=model_version.pk, status=ModelStatus.CANDIDATE)
    if waiting.update(status=ModelStatus.SHADOW) != 1:
        raise StateConflict("Only a candidate can become a shadow model.")
    model_version.refresh_from_db()


def model_evaluation_store(*, model_version: ModelVersion, report: dict | None, curves: list | None) -> None:
    """Keep what was measured of a version. What is not given takes nothing away that is known."""
    given = {name: value for name, value in (("report", report), ("curves", curves)) if value is not None}
    if given:
        ModelEvaluation.objects.update_or_create(model_version=model_version, defaults=given | {"updated_at": Now()})


@transaction.atomic
def model_version_activate(*, model_version: ModelVersion, actor: User | None = None, waiver: str = "") -> None:
    """Make this version the one that serves its task; the one that served is retired.

    Raises ServiceError for an experimental version without a waiver: why it may serve nevertheless.
    """
    waiver = waiver.strip()
    if model_version.experimental and not waiver:
        raise ServiceError("Say why this experimental model may serve nevertheless.", field="waiver")
    versions = ModelVersion.objects.select_for_update().filter(task=model_version.task)
    list(versions)
    versions.filter(status=ModelStatus.ACTIVE).update(status=ModelStatus.RETIRED)
    versions.filter(pk=model_version.pk).update(status=ModelStatus.ACTIVE)
    ModelActivation.objects.create(model_version=model_version, actor=actor, waiver=waiver)
    model_version.refresh_from_db()


ARCHIVE_PIECE = 500


def archive_queue(*, model_version: ModelVersion) -> Iterator[int]:
    """Queue every image of the archive that this version has not looked at, at backfill priority; piece by piece.

    Yields how many images were gone through. Each piece is a transaction: broken off, or begun twice, it goes on
    where runs are missing and makes no second run of any image.
    """
    last = None
    while piece := _archive_piece(model_version, last):
        last = piece[-1]
        _runs_create(model_version, piece, Priority.BACKFILL)
        yield len(piece)
    runs_nudge()


def archive_images(model_version: ModelVersion) -> QuerySet[SmearImage]:
    """Images of the model's kind in cases that were handed in."""
    return SmearImage.objects.filter(
        case__image_kind=model_version.input_kind, case__submitted_at__isnull=False, withdrawn_at__isnull=True
    ).exclude(case__state=CaseState.CANCELLED)


def _archive_piece(model_version: ModelVersion, last: UUID | None) -> list[UUID]:
    images = archive_images(model_version)
    if last is not None:
        images = images.filter(pk__gt=last)
    return list(images.order_by("pk").values_list("pk", flat=True)[:ARCHIVE_PIECE])
