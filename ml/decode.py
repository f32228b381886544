"""From file bytes to an RGB picture, whatever the file's pixel format, or a sentence saying why not."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
MAX_PIXELS = 80_000_000
MAX_SIDE = 30_000


class DecodeError(ValueError):
    """The bytes are not a picture we accept; the message is a sentence for people."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """uint8 RGB (H, W, 3) of the first page, orientation applied, transparency composited on white.

    Size limits are checked on the header, before any pixel is decoded. 16-bit samples keep their upper 8 bits.
    Raises DecodeError for anything else than a whole JPEG, PNG, TIFF, BMP or WebP picture.
    """
    if not data:
        raise DecodeError("The file is empty.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                check_size(picture.size, max_pixels)
                picture.load()
                upright = ImageOps.exif_transpose(picture)
                return to_rgb(upright)
        except DecodeError:
            raise
        except Image.DecompressionBombError as error:
            raise DecodeError(f"The picture is too large: {allowed(max_pixels)}.") from error
        except Image.UnidentifiedImageError as error:
            raise DecodeError("This is not a JPEG, PNG, TIFF, BMP or WebP picture.") from error
        except Exception as error:
            # Pillow's plugins raise many kinds (OSError, SyntaxError, struct.error, ...) on damaged files.
            raise DecodeError("The picture is damaged or cut off and cannot be read in full.") from error


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels or max(size) > MAX_SIDE:
        raise DecodeError(f"The picture is too large: {width} x {height} pixels, {allowed(max_pixels)}.")


def allowed(max_pixels: int) -> str:
    return f"at most {max_pixels / 1_000_000:g} million pixels are allowed"


def to_rgb(picture: Image.Image) -> np.ndarray:
    """uint8 RGB (H, W, 3) from any of Pillow's modes."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return grey_to_rgb(np.asarray(picture))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, layered).convert("RGB"))
    return np.asarray(picture.convert("RGB"))


def grey_to_rgb(samples: np.ndarray) -> np.ndarray:
    """Scale deep grey samples to 8 bits by their format's range, not by what the picture happens to hold."""
    values = samples.astype(np.float64)
    if not np.isfinite(values).all():
        raise DecodeError("The picture holds values that are not numbers.")
    if samples.dtype.kind == "f":
        scaled = values * 255.0 if values.max(initial=0.0) <= 1.0 else values
    else:
        scaled = values / 257.0 if values.max(initial=0.0) > 255 else values
        if samples.dtype == np.uint16:
            scaled = values / 257.0
    grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
