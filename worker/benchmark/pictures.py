"""The pictures it is measured with: of a folder, or drawn."""

import io
from pathlib import Path

from PIL import Image

from ml import reference
from ml.data import SUFFIXES

PICTURE_SIDE = 640


def drawn_pictures(count: int) -> list[bytes]:
    """Drawn smears as JPEG; to a model of real ones they are unlike its training data."""
    found = []
    for seed in range(count):
        buffer = io.BytesIO()
        Image.fromarray(reference.draw_smear(seed, PICTURE_SIDE)).save(buffer, "JPEG", quality=92)
        found.append(buffer.getvalue())
    return found


def pictures_of(folder: Path, count: int) -> list[bytes]:
    """So many different pictures of a folder, spread evenly over it; raises ValueError where it has none."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise ValueError(f"There are no pictures in {folder}.")
    spread = [paths[place * len(paths) // min(count, len(paths))] for place in range(min(count, len(paths)))]
    return list(dict.fromkeys(path.read_bytes() for path in spread))
