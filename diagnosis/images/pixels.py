"""Any decoded picture as the 8-bit grey or colour picture that it shows."""

from __future__ import annotations

import numpy as np
from PIL import Image

from diagnosis.images.faults import unsupported

_WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_DEEP_GREY = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_COLOUR = frozenset({"P", "CMYK", "YCbCr", "RGBX"})


def eight_bit(image: Image.Image, *, full_scale: int = 65_535, inverted: bool = False) -> Image.Image:
    """Mode L or RGB, whatever came in. Transparency shows white, as on a slide; deep grey is scaled.

    16-bit colour arrives here already as its high bytes, which is within one grey level of exact scaling.
    """
    if image.mode in _DEEP_GREY:
        return _scaled_grey(image, full_scale, inverted)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return on_white(image)
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in _COLOUR:
        return image.convert("RGB")
    raise unsupported("a scientific colour space")


def on_white(image: Image.Image) -> Image.Image:
    """Composited on white; a grey picture stays grey."""
    grey = image.mode in ("1", "L", "LA", "La")
    layered = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
    ground.alpha_composite(layered)
    return ground.convert("L" if grey else "RGB")


def is_opaque(image: Image.Image) -> bool:
    """No pixel lets anything through."""
    return bool(image.convert("RGBA").getchannel("A").getextrema()[0] == 255)


def _scaled_grey(image: Image.Image, full_scale: int, inverted: bool) -> Image.Image:
    """Full scale becomes 255: for 16 bits a division by 257, rounded. In bands, to spare memory."""
    deep = np.asarray(image)
    shallow = np.empty(deep.shape, np.uint8)
    for top in range(0, deep.shape[0], 512):
        band = deep[top : top + 512].astype(np.uint32)
        scaled = np.minimum((band * 255 + full_scale // 2) // full_scale, 255)
        shallow[top : top + 512] = 255 - scaled if inverted else scaled
    return Image.fromarray(shallow)
