"""Images enter a case and leave it."""

import hashlib
import logging
from dataclasses import asdict
from io import BytesIO
from typing import IO
from uuid import uuid4

import numpy as np
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import DatabaseError, transaction
from django.db.models import Max
from django.db.models.functions import Now
from PIL import Image

from accounts.models import User
from diagnosis.errors import ServiceError, StateConflict
from diagnosis.images.intake import CleanImage, clean_image
from diagnosis.images.quality import QualityVerdict, assess
from diagnosis.images.thumbnails import make_thumbnail
from diagnosis.models import Case, PredictionRun, SmearImage
from diagnosis.services.timeline import timeline_add
from diagnosis.states import EDITABLE_STATES, RunState, TimelineKind

logger = logging.getLogger(__name__)


def image_add(
    *, case: Case, actor: User, upload: IO[bytes], file_name: str, position: int | None = None
) -> SmearImage:
    """Check, clean and store one upload. Raises ImageRejected or ServiceError, and then nothing is stored.

    Files that are sent side by side arrive in any order, so each may say its place; a taken one is not given.
    """
    clean = clean_image(upload, file_name=file_name)
    thumbnail = make_thumbnail(clean.data)
    quality = _quality_of(clean)
    try:
        return _image_store(case, actor, clean, thumbnail, quality, position)
    except (OSError, DatabaseError) as error:  # a full disk, a storage that is away: not the user's to understand
        logger.exception("An image could not be stored")
        raise ServiceError(f"{clean.file_name}: it could not be stored, nothing of it was kept. Try again.") from error


def _image_store(
    case: Case, actor: User, clean: CleanImage, thumbnail: bytes, quality: QualityVerdict, position: int | None
) -> SmearImage:
    """The row and its bytes, or neither."""
    with transaction.atomic():
        case = Case.objects.select_for_update(of=("self",)).select_related("camera").get(pk=case.pk)
        if case.state not in EDITABLE_STATES:
            raise StateConflict("Images can be added to a draft or a returned case only.")
        _check_room(case, clean)
        image = SmearImage.objects.create(
            case=case,
            position=_place(case, position),
            file_name=clean.file_name,
            sha256=clean.sha256,
            content_type=clean.content_type,
            size=len(clean.data),
            width=clean.width,
            height=clean.height,
            microns_per_pixel=_scale_of(case),
            thumbnail_sha256=_store(thumbnail),
            thumbnail_size=len(thumbnail),
            quality=asdict(quality),
            uploaded_by=actor,
        )
        _store(clean.data)
    return image


def _place(case: Case, wanted: int | None) -> int:
    if wanted and not case.images.filter(position=wanted).exists():
        return wanted
    return (case.images.aggregate(last=Max("position"))["last"] or 0) + 1


def _scale_of(case: Case) -> float | None:
    return case.camera.microns_per_pixel if case.camera else None


def images_rescale(*, case: Case, actor: User) -> None:
    """The case has another camera now, so its images have another scale. Must be called with the case locked.

    What was predicted of an image was predicted at the scale it had: such an image is withdrawn with its predictions,
    and stands in the case once more with the new scale, to be looked at again.
    """
    present = case.images.filter(withdrawn_at__isnull=True)
    looked_at = PredictionRun.objects.filter(image__case=case).exclude(state=RunState.CANCELLED)
    seen = list(present.filter(pk__in=looked_at.values("image")))
    present.exclude(pk__in=[image.pk for image in seen]).update(microns_per_pixel=_scale_of(case))
    last = case.images.aggregate(position=Max("position"))["position"] or 0
    for position, image in enumerate(seen, start=last + 1):
        image_withdraw(case=case, image=image, actor=actor)
        image.pk, image.position, image.microns_per_pixel = uuid4(), position, _scale_of(case)
        image._state.adding = True
        image.save(force_insert=True)


def _quality_of(clean: CleanImage) -> QualityVerdict:
    with Image.open(BytesIO(clean.data)) as picture:
        return assess(np.asarray(picture.convert("RGB")))


def _store(data: bytes) -> str:
    """Keep the bytes under their SHA-256; storing the same bytes again stores nothing."""
    return storages["smears"].save(hashlib.sha256(data).hexdigest(), ContentFile(data))


def _check_room(case: Case, clean: CleanImage) -> None:
    present = case.images.filter(withdrawn_at__isnull=True)
    same = present.filter(sha256=clean.sha256).first()
    if same:
        raise ServiceError(f"{clean.file_name}: this image is in the case already, as {same.file_name}.")
    if present.count() >= settings.IMAGES_PER_CASE:
        raise ServiceError(f"{clean.file_name}: a case holds at most {settings.IMAGES_PER_CASE} images.")


@transaction.atomic
def image_withdraw(*, case: Case, image: SmearImage, actor: User) -> None:
    """Take an image out of a draft or returned case. Its record stays."""
    case = Case.objects.select_for_update().get(pk=case.pk)
    if case.state not in EDITABLE_STATES:
        raise StateConflict("Images can be taken out of a draft or a returned case only.")
    if SmearImage.objects.filter(pk=image.pk, case=case, withdrawn_at__isnull=True).update(withdrawn_at=Now()) == 1:
        timeline_add(case=case, kind=TimelineKind.IMAGE_WITHDRAWN, actor=actor, reason=image.file_name)
