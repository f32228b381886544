"""A small copy for lists and filmstrips: the whole field, in its true colours and proportions."""

from __future__ import annotations

import io

from PIL import Image

from diagnosis.images.pixels import eight_bit

CONTENT_TYPE = "image/webp"
_QUALITY = 82


def make_thumbnail(data: bytes, size: int = 256) -> bytes:
    """WebP whose longer side is at most `size`; a smaller picture keeps its size.

    `data` is what `clean_image` returned. A JPEG is decoded at the coarsest of its own scales that is at
    least twice as large as wanted, so a 20-megapixel field costs little memory.
    """
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
        if image.format == "JPEG" and image.mode in ("L", "RGB"):
            image.draft(image.mode, (2 * size, 2 * size))
        image.load()
        small = eight_bit(image)
        small = small.copy() if small is image else small
    small.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    small.info = {}
    out = io.BytesIO()
    small.convert("RGB").save(out, "WEBP", quality=_QUALITY, method=4)
    return out.getvalue()
