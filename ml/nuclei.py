"""Stained nuclei of a picture at one working scale: where they are and how far they reach.

Nuclei take up azure and let little green through, red cells take up eosin or look grey: the optical density of green
above the mean of red and blue sets nuclei apart whatever the lamp and nearly whatever the stain. The threshold is
Otsu's (1979), touching nuclei are parted at the peaks of the distance transform (Malpica et al., Cytometry 1997), and
nearly every limit is relative to the other nuclei of the same picture. The limits were set on fields that are not
among those counted by hand in `ml/reference_counts.json`. For whole pictures of any size see `ml.cells`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from ml.preprocessing import background_colour

Picture = np.ndarray
Mask = np.ndarray
Circle = tuple[int, int, float]

SMALLEST_SIDE = 16
FLOOR = 0.13
CEILING = 0.4
SMALLEST = 0.45
SMALLEST_PIXELS = 4.0
DOME = 0.16
DOME_OF_CLUMPS = 0.05
GIANT = 2.0
DENTED = 0.94
LOCAL = 0.4
WHOLE_AT_BORDER = 0.4
SOLID = 0.72
SLIM = 3.0
SMUDGED_RED = 0.7
SMUDGED_AZURE = 1.5
PURE = 0.65
FAINT = 1.35
FAINT_BESIDE = 0.5


def locate(picture: Picture) -> list[Piece]:
    """The nuclei of a decoded picture, uint8 RGB (H, W, 3), some 5 to 100 pixels wide; in no particular order."""
    if min(picture.shape[:2]) < SMALLEST_SIDE:
        return []
    stains = stains_of(picture)
    azure, threshold = stains.azure, threshold_of(stains.azure)
    mask = (azure > threshold).astype(np.uint8)
    width = usual_width(mask)
    if width < SMALLEST_PIXELS:
        return []
    mask &= azure > LOCAL * neighbourhood(azure, width)
    pieces = split(clean(mask, azure > threshold / 2, width), width)
    return plausible(measure_pieces(pieces, stains), threshold, azure.shape)


@dataclass(frozen=True)
class Stains:
    """Optical densities, float32 (H, W): `red` and `green` light, and `azure`, green above the mean of red and blue,
    which is about 0 for glass and red cells."""

    red: np.ndarray
    green: np.ndarray
    azure: np.ndarray


def stains_of(picture: Picture) -> Stains:
    """Densities against the picture's own glass, slightly smoothed."""
    glass = np.maximum(background_colour(picture), 1.0).astype(np.float32)
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.0)
    levels = np.arange(256, dtype=np.float32)[:, None] / glass
    density = -np.log((np.minimum(levels, 1.0) + 0.03) / 1.03)
    red, green, blue = (cv2.LUT(smooth[..., channel], density[:, channel]) for channel in range(3))
    return Stains(red, green, green - (red + blue) / 2)


def threshold_of(azure: np.ndarray) -> float:
    """Otsu's threshold of the density; FLOOR keeps red cells out of fields without nuclei.

    Densities are cut off at CEILING, lest a few very dark nuclei take the pale ones away.
    """
    levels = np.clip(azure * (255 / CEILING), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return max(FLOOR, float(threshold) * CEILING / 255)


def usual_width(mask: Mask) -> float:
    """Width in pixels of most of what is stained: twice the inner radius of its parts, the median by area."""
    distance = cv2.distanceTransform(np.pad(mask, 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count < 2:
        return 0.0
    radii = np.zeros(count, np.float32)
    np.maximum.at(radii, labels.ravel(), distance.ravel())  # type: ignore[arg-type]
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = np.argsort(radii[1:])
    half = np.searchsorted(np.cumsum(areas[order]), areas.sum() / 2)
    return float(2 * radii[1:][order][half])


def neighbourhood(azure: np.ndarray, width: float) -> np.ndarray:
    """The density that the strongest nucleus within half a width has."""
    smooth = cv2.GaussianBlur(azure, (0, 0), max(0.5, width / 6))
    return cv2.dilate(smooth, disc(width / 2))


def clean(mask: Mask, tinted: Mask, width: float) -> Mask:
    """Fill the holes of nuclei, take away threads, specks and scale bars.

    A hole is filled where it is tinted, as pale chromatin is; glass between touching nuclei stays open.
    """
    joined = mask | (cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc(width * 0.12)) & tinted)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - joined, connectivity=4)
    holes = np.bincount(labels.ravel(), weights=tinted.ravel(), minlength=count) > 0.6 * stats[:, cv2.CC_STAT_AREA]
    holes &= stats[:, cv2.CC_STAT_AREA] < 0.3 * width * width
    holes[0] = False
    filled = joined | holes[labels].astype(np.uint8)
    return cv2.morphologyEx(filled, cv2.MORPH_OPEN, disc(width * 0.18))


def disc(radius: float) -> np.ndarray:
    size = 2 * max(0, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def split(mask: Mask, width: float) -> np.ndarray:
    """Labels int32 (H, W), 0 outside, touching nuclei parted at the domes of the distance transform.

    The mask is continued beyond the border, so that a nucleus cut by it keeps its depth. A pixel of a clump goes to
    the nucleus whose inscribed circle is nearest.
    """
    margin = max(2, round(width / 2))
    padded = np.pad(mask, margin, mode="edge")
    distance = cv2.GaussianBlur(cv2.distanceTransform(padded, cv2.DIST_L2, 5), (0, 0), max(0.5, width * 0.04))
    labels = cv2.connectedComponents(padded, connectivity=4)[1]
    divide(labels, peaks(distance * padded, DOME))
    clumps = np.isin(labels, dented_giants(labels))
    if clumps.any():
        divide(labels, peaks(distance * clumps, DOME_OF_CLUMPS))
    return np.ascontiguousarray(labels[margin:-margin, margin:-margin])


def divide(labels: np.ndarray, circles: list[Circle]) -> None:
    """Give every pixel of a part with more than one circle the label of the nearest; new labels where needed."""
    by_part: dict[int, list[Circle]] = {}
    for circle in circles:
        by_part.setdefault(int(labels[circle[1], circle[0]]), []).append(circle)
    free = int(labels.max()) + 1
    for label, inside in by_part.items():
        if len(inside) > 1:
            rows, columns = np.nonzero(labels == label)
            gaps = np.stack([np.hypot(columns - x, rows - y) - radius for x, y, radius in inside])
            nearest = gaps.argmin(axis=0)
            labels[rows, columns] = np.where(nearest == 0, label, free + nearest - 1)
            free += len(inside) - 1


def dented_giants(labels: np.ndarray) -> list[int]:
    """Parts much larger than the others whose outline is dented: clumps that were not parted."""
    areas = np.bincount(labels.ravel())[1:]
    limit = GIANT * float(np.median(areas[areas > 0])) if areas.any() else 0.0
    found = []
    for label, (x, y, width, height) in boxes(labels).items():
        if areas[label - 1] > limit:
            own = (labels[y : y + height, x : x + width] == label).astype(np.uint8)
            outline = max(cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
            if areas[label - 1] < DENTED * cv2.contourArea(cv2.convexHull(outline)):
                found.append(label)
    return found


def peaks(distance: np.ndarray, depth: float) -> list[Circle]:
    """x, y and height of the peaks that stand out from their saddle by more than the share `depth` of their height."""
    lowered = (distance * (1 - depth)).astype(np.float32)
    rebuilt = lowered
    kernel = np.ones((3, 3), np.uint8)
    for _ in range(400):
        grown = np.minimum(cv2.dilate(rebuilt, kernel), distance)
        if np.array_equal(grown, rebuilt):
            break
        rebuilt = grown
    rise = distance - rebuilt
    standing = (rise > 0.25 * depth * distance).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(standing, connectivity=8)
    found = []
    for label in range(1, count):
        x, y, width, height = (int(value) for value in stats[label, :4])
        own = np.where(labels[y : y + height, x : x + width] == label, rise[y : y + height, x : x + width], 0.0)
        row, column = np.unravel_index(int(own.argmax()), own.shape)
        top = float(distance[y + row, x + column])
        if own.max() >= 0.98 * depth * top:
            found.append((x + int(column), y + int(row), top))
    return found


@dataclass(frozen=True)
class Piece:
    """A candidate: outline (N, 1, 2), box x, y, width, height and area in pixels; mean densities of azure, red and
    green."""

    outline: np.ndarray
    box: tuple[int, int, int, int]
    area: float
    azure: float
    red: float
    green: float

    @property
    def diameter(self) -> float:
        return float(np.sqrt(4 * self.area / np.pi))

    @property
    def solidity(self) -> float:
        return self.area / max(cv2.contourArea(cv2.convexHull(self.outline)), self.area)

    @property
    def slimness(self) -> float:
        sides = cv2.minAreaRect(self.outline)[1]
        return (max(sides) + 1) / (min(sides) + 1)

    def at_border(self, shape: tuple[int, ...]) -> bool:
        x, y, width, height = self.box
        return x <= 1 or y <= 1 or x + width >= shape[1] - 1 or y + height >= shape[0] - 1


def measure_pieces(labels: np.ndarray, stains: Stains) -> list[Piece]:
    pieces = []
    for label, (x, y, width, height) in boxes(labels).items():
        inside = slice(y, y + height), slice(x, x + width)
        own = labels[inside] == label
        outlines, _ = cv2.findContours(own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y))
        azure, red, green = (
            float(channel[inside][own].mean()) for channel in (stains.azure, stains.red, stains.green)
        )
        area = float(np.count_nonzero(own))
        pieces.append(Piece(max(outlines, key=len), (x, y, width, height), area, azure, red, green))
    return pieces


def boxes(labels: np.ndarray) -> dict[int, tuple[int, int, int, int]]:
    """x, y, width and height of every label but 0."""
    found = ndimage.find_objects(labels)
    return {
        label: (place[1].start, place[0].start, place[1].stop - place[1].start, place[0].stop - place[0].start)
        for label, place in enumerate(found, start=1)
        if place is not None
    }


def plausible(pieces: list[Piece], threshold: float, shape: tuple[int, ...]) -> list[Piece]:
    """Without platelets, slivers at the border, threads, debris and spread smudges, each told by the others."""
    pieces = without_faint(pieces, threshold)
    if not pieces:
        return []
    areas = np.sort([piece.area for piece in pieces if piece.solidity > DENTED] or [piece.area for piece in pieces])
    bulk = float(areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2)])
    large = [piece for piece in pieces if piece.area >= bulk * SMALLEST**2]
    usual = float(np.median([piece.area for piece in large]))
    red = float(np.median([piece.red for piece in large]))
    purity = float(np.median([piece.azure / piece.green for piece in large]))

    def fits(piece: Piece) -> bool:
        least = max(bulk * SMALLEST**2, usual * WHOLE_AT_BORDER if piece.at_border(shape) else 0.0)
        if piece.area < least or piece.solidity < SOLID or piece.slimness > SLIM:
            return False
        smudge = piece.red < SMUDGED_RED * red and piece.azure < SMUDGED_AZURE * threshold
        return not smudge and piece.azure / piece.green > PURE * purity

    return [piece for piece in pieces if fits(piece)]


def without_faint(pieces: list[Piece], threshold: float) -> list[Piece]:
    """Drop what is hardly above the threshold next to true nuclei: red cells where the lamp's light falls off."""
    if not pieces:
        return []
    strongest = max(pieces, key=lambda piece: piece.azure * piece.area).azure
    least = min(FAINT * threshold, FAINT_BESIDE * strongest)
    return [piece for piece in pieces if piece.azure >= least]
