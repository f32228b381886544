"""White cells in a field: where they lie, how wide their nuclei are, and a crop of each.

`python -m ml.cells PATH... --json` prints one line per picture. How well it finds them is measured against the hand
counts of `ml/reference_counts.json`; `python -m ml.agreement --data DIR` gives the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ml import nuclei
from ml.preprocessing import WHITE

Picture = np.ndarray

SIDE = 224
FINEST_SIDE = 896
SMALL_NUCLEUS = 9.0
CROP = 2.2


class Box(NamedTuple):
    """A rectangle in pixels of the given picture; `x`, `y` its upper left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Nucleus:
    """A stained nucleus: the box around it, its outline as points (N, 2) x, y, and the diameter of the circle of equal
    area; all in pixels of the given picture."""

    box: Box
    outline: np.ndarray
    diameter: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.box.x + self.box.width / 2, self.box.y + self.box.height / 2

    def mask(self, shape: tuple[int, ...]) -> np.ndarray:
        """bool (H, W): the pixels of the nucleus in a picture of this shape."""
        drawn = np.zeros(shape[:2], np.uint8)
        cv2.drawContours(drawn, [self.outline[:, None, :]], -1, 1, cv2.FILLED)
        return drawn.astype(bool)


@dataclass(frozen=True)
class FoundCell:
    """A cell of a field with what a single-cell model says of it; `probabilities` 0..1 by class code."""

    box: Box
    label: str | None
    probabilities: dict[str, float]


def find(picture: Picture) -> list[Nucleus]:
    """The white cells of a decoded field, uint8 RGB (H, W, 3), from top to bottom; some 10 ms at 224 px.

    The work is done with the shorter side at SIDE pixels, and again on a finer picture, where there is one, if the
    nuclei turn out to be tiny there. A cell cut by the border counts when about half of it is inside.
    """
    side, shorter = SIDE, min(picture.shape[:2])
    found = find_at(picture, side)
    while found and side < min(FINEST_SIDE, shorter) and usual_diameter(found) * side / shorter < SMALL_NUCLEUS:
        side *= 2
        found = find_at(picture, side)
    return found


def find_at(picture: Picture, side: int) -> list[Nucleus]:
    """Find with the shorter side of the picture at `side` pixels, or as it is where it has fewer."""
    height, width = picture.shape[:2]
    factor = min(1.0, side / min(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = picture if factor == 1.0 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    scale = width / size[0], height / size[1]
    found = (enlarged(piece, scale) for piece in nuclei.locate(small))
    return sorted(found, key=lambda nucleus: (nucleus.box.y, nucleus.box.x))


def enlarged(piece: nuclei.Piece, scale: tuple[float, float]) -> Nucleus:
    """In pixels of the given picture, `scale` of them to one of the working picture."""
    x, y, width, height = piece.box
    left, top = int(x * scale[0]), int(y * scale[1])
    right, bottom = round((x + width) * scale[0]), round((y + height) * scale[1])
    outline = np.rint((piece.outline[:, 0, :] + 0.5) * np.array(scale) - 0.5).astype(np.int32)
    diameter = piece.diameter * float(np.sqrt(scale[0] * scale[1]))
    return Nucleus(Box(left, top, right - left, bottom - top), outline, diameter)


def usual_diameter(found: Sequence[Nucleus]) -> float:
    """Median nucleus diameter in pixels; raises ValueError where there are none."""
    if not found:
        raise ValueError("there are no nuclei to measure")
    return float(np.median([nucleus.diameter for nucleus in found]))


def crop(picture: Picture, nucleus: Nucleus, times: float = CROP) -> Picture:
    """A square of `times` nucleus diameters around the nucleus, in pixels of the picture; white beyond its border."""
    side = max(1, round(nucleus.diameter * times))
    x, y = (round(value - side / 2) for value in nucleus.centre)
    height, width = picture.shape[:2]
    square = np.full((side, side, 3), WHITE, dtype=np.uint8)
    left, top, right, bottom = max(0, x), max(0, y), min(width, x + side), min(height, y + side)
    square[top - y : bottom - y, left - x : right - x] = picture[top:bottom, left:right]
    return square


def line(path: Path, picture: Picture) -> dict[str, Any]:
    """What the command line prints of one picture."""
    from ml.scale import estimate

    found = find(picture)
    return {
        "path": str(path),
        "cells": len(found),
        "boxes": [nucleus.box._asdict() for nucleus in found],
        "nucleus_diameters": [round(nucleus.diameter, 1) for nucleus in found],
        "microns_per_pixel": estimate(found),
    }


def for_people(row: dict[str, Any]) -> str:
    scale = row["microns_per_pixel"]
    return f"{row['path']}: {row['cells']} cells" + (f", about {scale:.3f} µm a pixel" if scale else "")


def main(arguments: list[str] | None = None) -> int:
    from ml.decode import DecodeError, decode
    from ml.predict import UsageError, walk

    parser = argparse.ArgumentParser(prog="python -m ml.cells", description="Find the white cells of smear fields.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="picture files or folders of them")
    parser.add_argument("--json", action="store_true", help="one JSON object per picture")
    options = parser.parse_args(arguments)
    read = 0
    try:
        for path in walk(options.paths):
            try:
                row = line(path, decode(path.read_bytes()))
            except (DecodeError, OSError) as error:
                print(f"{path}: {error}", file=sys.stderr, flush=True)
                continue
            print(json.dumps(row) if options.json else for_people(row), flush=True)
            read += 1
    except UsageError as error:
        print(f"ml.cells: {error}", file=sys.stderr)
    except BrokenPipeError:
        return 0
    return 0 if read else 2


if __name__ == "__main__":
    raise SystemExit(main())
