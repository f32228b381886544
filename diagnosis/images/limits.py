"""How large a picture may be, checked against its header before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from diagnosis.images.faults import ImageFault, corrupt


@dataclass(frozen=True)
class ImageLimits:
    """Caps on one uploaded picture.

    Peak memory of the process at 60 megapixels, measured: sequential JPEG 570 MB, progressive JPEG 840 MB,
    PNG 1050 MB, TIFF (104 MB, LZW) 1220 MB. A web process needs that much to spare for each upload at a time.
    """

    max_bytes: int = 40 * 1024 * 1024
    max_pixels: int = 60_000_000
    min_side: int = 32

    @classmethod
    def from_settings(cls) -> ImageLimits:
        """`IMAGE_MAX_BYTES`, `IMAGE_MAX_PIXELS` and `IMAGE_MIN_SIDE`, where the site sets them."""
        return cls(
            max_bytes=getattr(settings, "IMAGE_MAX_BYTES", cls.max_bytes),
            max_pixels=getattr(settings, "IMAGE_MAX_PIXELS", cls.max_pixels),
            min_side=getattr(settings, "IMAGE_MIN_SIDE", cls.min_side),
        )

    def check_bytes(self, count: int) -> None:
        """Refuse an empty file and one above `max_bytes`."""
        if count == 0:
            raise ImageFault("empty", "is empty. Copy it again from the microscope computer and add it again.")
        if count > self.max_bytes:
            megabytes = self.max_bytes / (1024 * 1024)
            raise ImageFault("too_many_bytes", f"is larger than {megabytes:.0f} MB. Export it as JPEG or crop it.")

    def check_size(self, width: int, height: int) -> None:
        """Refuse a picture whose header promises more than `max_pixels`, or too little to be a smear."""
        if width <= 0 or height <= 0:
            raise corrupt()
        if width * height > self.max_pixels:
            raise ImageFault(
                "too_many_pixels",
                f"is {width} × {height} pixels; at most {self.max_pixels / 1e6:.0f} million are taken. "
                "Export one field of view, or a smaller copy.",
            )
        if min(width, height) < self.min_side:
            raise ImageFault(
                "too_small",
                f"is only {width} × {height} pixels; each side needs at least {self.min_side}. "
                "Export it at full resolution.",
            )
