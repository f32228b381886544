"""From uploaded bytes to the bytes that are stored: checked, whole, and nothing but the picture.

The format is told by the signature, never by name or media type. Every format is first cut down by its
own module, which parses the headers and refuses by size; only then is a decoder given bytes, and only
the picture's. No database here.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from typing import IO, Protocol

from PIL import Image, ImageFile

from diagnosis.images import bmp, jpeg, jpeg_proof, png, tiff, webp
from diagnosis.images.encoding import turned_jpeg, without_loss
from diagnosis.images.faults import ImageFault, corrupt
from diagnosis.images.limits import ImageLimits
from diagnosis.images.names import display_name
from diagnosis.images.orientation import orientation_in, upright
from diagnosis.images.pixels import eight_bit, is_opaque

ImageFile.LOAD_TRUNCATED_IMAGES = False


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class CleanImage:
    """What is stored of an upload. `file_name` is text to show, never a key or a path."""

    data: bytes
    content_type: str
    sha256: str
    width: int
    height: int
    original_bytes: int
    file_name: str


class ImageRejected(Exception):
    """An upload that is not kept; `message` names the file and says what to do about it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class _Kept:
    data: bytes
    content_type: str
    size: tuple[int, int]


def clean_image(
    upload: bytes | _Readable | IO[bytes], *, file_name: str, limits: ImageLimits | None = None
) -> CleanImage:
    """Check one upload and reduce it to its picture, or raise `ImageRejected`.

    JPEG and lossy WebP keep their own coded data. All else becomes lossless WebP or PNG. An orientation
    is applied, to a JPEG by coding it again with its own tables. Transparency becomes white. Colour
    profiles are dropped unapplied, in every format alike, so that the models and the readers see the
    numbers the camera wrote.
    """
    shown_name = display_name(file_name)
    bounds = limits or ImageLimits.from_settings()
    try:
        original = _read(upload, bounds)
        kept = _guarded_keep(original, bounds)
    except ImageFault as fault:
        raise ImageRejected(fault.code, f"“{shown_name}” {fault.reason}") from fault
    return CleanImage(
        data=kept.data,
        content_type=kept.content_type,
        sha256=hashlib.sha256(kept.data).hexdigest(),
        width=kept.size[0],
        height=kept.size[1],
        original_bytes=len(original),
        file_name=shown_name,
    )


def _read(upload: bytes | _Readable | IO[bytes], limits: ImageLimits) -> bytes:
    """At most one byte more than is allowed is ever read."""
    data = upload if isinstance(upload, bytes) else upload.read(limits.max_bytes + 1)
    limits.check_bytes(len(data))
    return data


def _guarded_keep(data: bytes, limits: ImageLimits) -> _Kept:
    """Decoders raise a dozen different exceptions on bytes made to hurt them; each of them means
    "damaged"."""
    try:
        return _keep(data, limits)
    except ImageFault:
        raise
    except Exception as error:
        raise corrupt() from error


def _keep(data: bytes, limits: ImageLimits) -> _Kept:
    if data.startswith(jpeg.SIGNATURE):
        return _keep_jpeg(data, limits)
    if data.startswith(png.SIGNATURE):
        return _keep_png(data, limits)
    if data.startswith(tiff.SIGNATURES):
        return _keep_tiff(data, limits)
    if webp.looks_like(data):
        return _keep_webp(data, limits)
    if bmp.looks_like(data):
        bmp.check(data, limits)
        return _coded_anew(_decode(data, "BMP"), 1)
    raise ImageFault(
        "not_an_image",
        "is not a JPEG, PNG, TIFF, BMP or WebP picture, whatever its name says. Export it as one of these.",
    )


def _keep_jpeg(data: bytes, limits: ImageLimits) -> _Kept:
    coded = jpeg.read(data, limits)
    decoded = jpeg_proof.decode_whole(coded)
    orientation = orientation_in(coded.exif)
    if orientation == 1:
        return _Kept(coded.data, "image/jpeg", decoded.size)
    image = upright(decoded, orientation)
    return _Kept(turned_jpeg(image, coded, decoded, orientation), "image/jpeg", image.size)


def _keep_png(data: bytes, limits: ImageLimits) -> _Kept:
    picture = png.read(data, limits)
    orientation = orientation_in(picture.exif)
    kept = _coded_anew(_decode(picture.data, "PNG"), orientation)
    if picture.keepable and orientation == 1 and len(picture.data) < len(kept.data):
        return replace(kept, data=picture.data, content_type="image/png")
    return kept


def _keep_tiff(data: bytes, limits: ImageLimits) -> _Kept:
    picture = tiff.read(data, limits)
    decoded = _decode(picture.data, "TIFF")
    image = eight_bit(decoded, full_scale=picture.full_scale, inverted=picture.inverted)
    return _coded_anew(image, picture.orientation)


def _keep_webp(data: bytes, limits: ImageLimits) -> _Kept:
    picture = webp.read(data, limits)
    orientation = orientation_in(picture.exif)
    decoded = _decode(picture.data, "WEBP")
    limits.check_size(*decoded.size)
    if orientation == 1 and (picture.opaque or is_opaque(decoded)):
        bare = picture.data if picture.opaque or not picture.lossy else webp.without_alpha(picture)
        kept = None if picture.lossy else _coded_anew(decoded, 1)
        if (kept is None or len(bare) < len(kept.data)) and webp.is_exact(bare, decoded):
            return _Kept(bare, "image/webp", decoded.size)
        return kept or _coded_anew(decoded, 1)
    return _coded_anew(decoded, orientation)


def _decode(data: bytes, kind: str) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        image.load()
        return image


def _coded_anew(decoded: Image.Image, orientation: int) -> _Kept:
    image = upright(eight_bit(decoded), orientation)
    data, content_type = without_loss(image)
    return _Kept(data, content_type, image.size)
