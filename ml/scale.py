"""What a pixel is worth, and bringing a picture to the scale a model was trained at.

Scales are micrometres to a pixel; where pixels are not square, the geometric mean of both sides.

TALEQANI. The bars in the corners of these fields count the camera's pixels ("200 pixels", "500 pixels"), not
micrometres, so the scale comes from the cells. Single red cells measure 16.0 to 17.7 px (geometric mean of width and
height; medians by class, 24 to 367 cells a class; in Pre, where they are swollen and overlap, 20) and are about 7.5 µm
wide on a dried smear: 0.42 to 0.47 µm. Median nuclei measure 21 to 24 px; at 0.44 µm that is 9.2 to 10.7 µm, as
lymphoblast nuclei should (9 to 10 µm and more when spread). Hence 0.44 µm, uncertain by some 15 %. Red cells and
nuclei alike are a third taller than wide: the fields were 4:3 and have been squeezed into squares, so a pixel is about
0.51 µm wide and 0.38 µm high. Pictures with square pixels, brought to the same mean, show rounder cells than the
training did.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ml import cells
from ml.preprocessing import background_colour

Picture = np.ndarray

TALEQANI = 0.44
NUCLEUS_MICRONS = 10.0
FEWEST_CELLS = 4
FACTOR = 2.0
MOST_TILES = 9
LARGEST_FACTOR = 8.0
LONGEST_SIDE = 6000


def estimate(found: Sequence[cells.Nucleus]) -> float | None:
    """Micrometres to a pixel, taking the median nucleus for NUCLEUS_MICRONS wide; None with too few cells to tell.

    Right within a factor of about 1.5: marrows differ in the size of their cells.
    """
    if len(found) < FEWEST_CELLS:
        return None
    return round(NUCLEUS_MICRONS / cells.usual_diameter(found), 4)


def is_wrong(picture: Picture, trained: float, side: int) -> bool:
    """Whether the picture, its shorter side brought to `side` pixels, seems to be more than FACTOR off the scale
    `trained`. Where the cells are too few to tell it is taken to be right."""
    guessed = estimate(cells.find(picture))
    if guessed is None:
        return False
    prepared = guessed * min(picture.shape[:2]) / side
    return not 1 / FACTOR <= prepared / trained <= FACTOR


def views(
    picture: Picture, own: float, trained: float, side: int, most: int = MOST_TILES, *, mirrored: bool = True
) -> list[Picture]:
    """Squares of `side` pixels at the scale `trained`, of a picture whose scale is `own`.

    A bigger picture gives up to `most` squares spread evenly over it. A smaller one goes on beyond its border as in a
    mirror, so that cells lie as densely as in what was learned from, or unless `mirrored` is set on its own glass.
    """
    size = size_at(picture, own, trained)
    columns, rows = grid(size, side, most)
    wanted = min(size[0], side * columns), min(size[1], side * rows)
    if columns * rows == 1:
        picture, size = middle(picture, size, wanted), wanted
    scaled = padded(resampled(picture, size), side, mirrored=mirrored)
    return [
        np.ascontiguousarray(scaled[top : top + side, left : left + side])
        for top in starts(scaled.shape[0], side, rows)
        for left in starts(scaled.shape[1], side, columns)
    ]


def size_at(picture: Picture, own: float, trained: float) -> tuple[int, int]:
    """Width and height in pixels of the picture at the scale `trained`, within reason: neither a dot nor gigabytes."""
    height, width = picture.shape[:2]
    largest = max(1.0, LONGEST_SIDE / max(height, width))
    factor = float(np.clip(own / trained, 16 / min(height, width), min(LARGEST_FACTOR, largest)))
    return max(1, round(width * factor)), max(1, round(height * factor))


def middle(picture: Picture, size: tuple[int, int], wanted: tuple[int, int]) -> Picture:
    """The part of the picture that becomes the middle `wanted` pixels when the whole is brought to `size`."""
    height, width = picture.shape[:2]
    across = min(width, max(1, round(width * wanted[0] / size[0])))
    down = min(height, max(1, round(height * wanted[1] / size[1])))
    left, top = (width - across) // 2, (height - down) // 2
    return picture[top : top + down, left : left + across]


def resampled(picture: Picture, size: tuple[int, int]) -> Picture:
    """Width and height in pixels as given, without aliasing."""
    if picture.shape[1::-1] == size:
        return picture
    smaller = size[0] < picture.shape[1]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def padded(picture: Picture, side: int, *, mirrored: bool) -> Picture:
    """At least `side` pixels high and wide, the picture in the middle."""
    height, width = picture.shape[:2]
    down, across = max(0, side - height), max(0, side - width)
    if down == across == 0:
        return picture
    edges = (down // 2, down - down // 2, across // 2, across - across // 2)
    if mirrored:
        return cv2.copyMakeBorder(picture, *edges, cv2.BORDER_REFLECT)
    glass = [float(value) for value in background_colour(picture)]
    return cv2.copyMakeBorder(picture, *edges, cv2.BORDER_CONSTANT, value=glass)


def grid(size: tuple[int, int], side: int, most: int) -> tuple[int, int]:
    """Columns and rows of squares that cover a picture of `size`, at most `most` in all; half a square is let go."""
    columns, rows = (max(1, int(length / side + 0.5)) for length in size)
    while columns * rows > most:
        if columns >= rows:
            columns -= 1
        else:
            rows -= 1
    return columns, rows


def starts(length: int, side: int, count: int) -> list[int]:
    """Where `count` squares begin: evenly spread from edge to edge, a single one in the middle."""
    spare = length - side
    if count == 1:
        return [spare // 2]
    return [round(spare * index / (count - 1)) for index in range(count)]
