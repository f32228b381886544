"""Where a network runs."""

from __future__ import annotations

import torch


def named(wanted: str) -> torch.device:
    """The device that "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N" stands for.

    Raises ValueError for one that is not here.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(f"unknown device {wanted!r}; there are auto, cpu, cuda and cuda:N") from error
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"there is no CUDA device {device.index or 0} here; {count} are available")
    return device
