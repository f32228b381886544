"""Images: taken in one by one, shown, taken out."""

import re
from uuid import UUID

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.requests import SignedInRequest
from diagnosis.errors import ServiceError
from diagnosis.images.intake import ImageRejected
from diagnosis.models import Case, SmearImage
from diagnosis.permissions import SUBMIT, VIEW, case_or_404, image_or_404, requires
from diagnosis.selectors.cases import duplicate_of
from diagnosis.services.images import image_add, image_withdraw
from diagnosis.services.timeline import access_record
from diagnosis.states import AccessedKind
from diagnosis.streaming import serve_blob


@requires(SUBMIT)
@require_POST
def image_upload(request: SignedInRequest, case_id: UUID) -> HttpResponse:
    """One image; the answer is its tile, or a sentence that says why it was not taken."""
    case = case_or_404(request.user, case_id)
    upload = request.FILES.get("image")
    if upload is None:
        return _rejected(request, "", "No file arrived. Choose the image again.")
    try:
        place = _place_asked(request)
        image = image_add(case=case, actor=request.user, upload=upload, file_name=upload.name or "", position=place)
    except (ImageRejected, ServiceError) as error:
        return _rejected(request, upload.name or "", error.message)
    twin = duplicate_of(site=case.site, sha256=image.sha256, case=case)
    context = {"case": case, "image": image, "duplicate_of": twin, "editable": True}
    return render(request, "diagnosis/images/_tile.html", context, status=201)


def _place_asked(request: SignedInRequest) -> int | None:
    """The place the uploader gave the file, which is its own to say only within reason."""
    said = request.POST.get("position", "")
    return int(said) if re.fullmatch(r"[1-9][0-9]{0,3}", said) else None


def _rejected(request: SignedInRequest, file_name: str, message: str) -> HttpResponse:
    context = {"file_name": file_name, "message": message}
    return render(request, "diagnosis/images/_rejected.html", context, status=422)


def add_uploads(request: SignedInRequest, case: Case) -> int:
    """Take the images that came with a form; say of each refused one why. Returns how many were refused."""
    refused = 0
    uploads: list[UploadedFile] = request.FILES.getlist("images")
    for upload in uploads:
        try:
            image_add(case=case, actor=request.user, upload=upload, file_name=upload.name or "")
        except (ImageRejected, ServiceError) as error:
            messages.error(request, error.message)
            refused += 1
    return refused


@requires(SUBMIT)
@require_POST
def image_remove(request: SignedInRequest, case_id: UUID, image_id: UUID) -> HttpResponse:
    image = image_or_404(request.user, case_id, image_id)
    try:
        image_withdraw(case=image.case, image=image, actor=request.user)
    except ServiceError as error:
        if request.htmx:
            return _rejected(request, image.file_name, error.message)
        messages.error(request, error.message)
    if request.htmx:
        return HttpResponse()
    return redirect("diagnosis:case_edit", case_id)


@requires(VIEW)
@require_safe
def image_file(request: SignedInRequest, case_id: UUID, image_id: UUID) -> HttpResponseBase:
    image = image_or_404(request.user, case_id, image_id)
    access_record(user=request.user, case=image.case, what=AccessedKind.IMAGE, object_id=image.pk)
    return _serve(request, image, image.sha256, image.size, image.content_type)


@requires(VIEW)
@require_safe
def image_thumbnail(request: SignedInRequest, case_id: UUID, image_id: UUID) -> HttpResponseBase:
    image = image_or_404(request.user, case_id, image_id)
    return _serve(request, image, image.thumbnail_sha256, image.thumbnail_size, "image/webp")


def _serve(request: SignedInRequest, image: SmearImage, name: str, size: int, content_type: str) -> HttpResponseBase:
    return serve_blob(
        request,
        storage_name=name,
        content_type=content_type,
        size=size,
        etag=f'"{name}"',
        file_name=image.file_name,
    )
