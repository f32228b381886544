"""`python -m ml.audit --data DIR`: what is wrong with an image folder before anything is trained on it.

DIR holds one folder per class. It looks for unreadable files, identical and near-identical ones, imbalance, and
shortcuts: numbers that say nothing about cells and yet tell the classes apart. A probe is a plain classifier on such
numbers, scored on contiguous fifths of each class's files; what it reaches above chance, a network can reach too
without looking at a cell.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ml import decode, duplicates, preprocessing
from ml.data import DataError, list_images

FOLDS = 5
NEAR_LIMIT = 6000
MARGIN = 0.2
CORNERS = {"lower right corner": (1, 1), "lower left corner": (1, 0), "upper right corner": (0, 1)}


@dataclass(frozen=True)
class Folder:
    """Readable pictures' thumbnails uint8 (N, 224, 224, 3), their class (N,), hashes, and what could not be read."""

    names: list[str]
    classes: list[str]
    labels: np.ndarray
    pictures: np.ndarray
    hashes: list[str]
    sizes: list[tuple[int, int]]
    unreadable: dict[str, str]


def read(root: Path) -> Folder:
    """Every picture of every class folder; raises DataError where there are fewer than two classes."""
    if not root.is_dir():
        raise DataError(f"the data folder {root} does not exist")
    files = [(path, place.name) for place in sorted(root.iterdir()) if place.is_dir() for path in list_images(place)]
    classes = sorted({name for _, name in files})
    if len(classes) < 2:
        raise DataError(f"{root} needs a folder of pictures for each of at least two classes")
    names, labels, pictures, hashes, sizes = [], [], [], [], []
    unreadable: dict[str, str] = {}
    for path, label in files:
        data = path.read_bytes()
        try:
            picture = decode.decode(data)
        except decode.DecodeError as error:
            unreadable[path.relative_to(root).as_posix()] = str(error)
            continue
        names.append(path.relative_to(root).as_posix())
        labels.append(classes.index(label))
        pictures.append(preprocessing.resize(picture, size=224))
        hashes.append(hashlib.sha256(data).hexdigest())
        sizes.append((picture.shape[1], picture.shape[0]))
    if len(set(labels)) < 2:
        raise DataError(f"fewer than two classes of {root} hold a readable picture")
    return Folder(names, classes, np.array(labels), np.stack(pictures), hashes, sizes, unreadable)


def identical(folder: Folder) -> list[list[str]]:
    """Names of files with the very same bytes."""
    by_hash: dict[str, list[str]] = {}
    for name, digest in zip(folder.names, folder.hashes, strict=True):
        by_hash.setdefault(digest, []).append(name)
    return [names for names in by_hash.values() if len(names) > 1]


def near(folder: Folder) -> list[list[str]]:
    """Groups of near duplicates; empty for sets too large to compare every pair."""
    if len(folder.names) > NEAR_LIMIT:
        return []
    numbers = duplicates.groups(np.stack([duplicates.dhash(picture) for picture in folder.pictures]))
    found = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    return [[folder.names[index] for index in group] for group in found if len(group) > 1]


def across(groups: list[list[str]]) -> list[list[str]]:
    """Those groups whose members carry different labels."""
    return [group for group in groups if len({name.partition("/")[0] for name in group}) > 1]


def background(pictures: np.ndarray) -> np.ndarray:
    """The colour of the glass: three numbers."""
    return np.stack([preprocessing.background_colour(picture) for picture in pictures])


def corner(pictures: np.ndarray, down: int, right: int) -> np.ndarray:
    """A corner of 36 x 48 pixels, at a quarter of the resolution."""
    rows = slice(188, 224) if down else slice(0, 36)
    columns = slice(176, 224) if right else slice(0, 48)
    return pictures[:, rows, columns][:, ::4, ::4].reshape(len(pictures), -1).astype(np.float32)


def crowding(pictures: np.ndarray) -> np.ndarray:
    """How much of the picture is dark (nuclei) and how much is tinted (any cell): two numbers."""
    light = pictures.mean(axis=3) / np.maximum(background(pictures).mean(axis=1), 1)[:, None, None]
    return np.stack([(light < 0.6).mean(axis=(1, 2)), (light < 0.85).mean(axis=(1, 2))], axis=1)


def probe(features: np.ndarray, labels: np.ndarray, model: Pipeline) -> float:
    """Balanced accuracy over contiguous fifths of each class, so that neighbours in a session do not help."""
    fold = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        fold[mine] = np.arange(len(mine)) * FOLDS // len(mine)
    said = np.zeros_like(labels)
    for part in range(FOLDS):
        train, test = fold != part, fold == part
        if test.any() and len(np.unique(labels[train])) > 1:
            said[test] = model.fit(features[train], labels[train]).predict(features[test])
    return float(balanced_accuracy_score(labels, said))


def line() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))


def neighbour() -> Pipeline:
    return make_pipeline(StandardScaler(), KNeighborsClassifier(1))


def seen_by_the_model(pictures: np.ndarray) -> np.ndarray:
    """After cover and neutralisation, the steps that are there to take shortcuts away."""
    steps = [preprocessing.Step("background_neutralisation"), preprocessing.Step("scale_bar_cover")]
    return np.stack([preprocessing.apply(picture, steps) for picture in pictures])


def probes(folder: Folder) -> dict[str, dict[str, float | bool]]:
    """Each shortcut's balanced accuracy on the raw pictures and on what the model sees, and whether it is flagged."""
    looks: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[], Pipeline]]] = {
        "background colour": (background, line),
        "crowding": (crowding, line),
    }
    for name, (down, right) in CORNERS.items():
        looks[name] = (partial(corner, down=down, right=right), neighbour)
    chance = 1.0 / len(folder.classes)
    cleaned = seen_by_the_model(folder.pictures)
    rows: dict[str, dict[str, float | bool]] = {}
    for name, (look, model) in looks.items():
        raw = probe(look(folder.pictures), folder.labels, model())
        after = probe(look(cleaned), folder.labels, model())
        rows[name] = {
            "raw": round(raw, 4),
            "preprocessed": round(after, 4),
            "chance": round(chance, 4),
            "flagged": raw > chance + MARGIN,
            "flagged_preprocessed": after > chance + MARGIN,
        }
    sizes = np.array(folder.sizes, dtype=np.float32)
    size = probe(sizes, folder.labels, line()) if len(np.unique(sizes, axis=0)) > 1 else chance
    flag = size > chance + MARGIN
    rows["picture size"] = {"raw": round(size, 4), "chance": round(chance, 4), "flagged": flag}
    return rows


def audit(root: Path) -> dict[str, Any]:
    """The whole finding, as JSON."""
    folder = read(root)
    counts = {name: int((folder.labels == index).sum()) for index, name in enumerate(folder.classes)}
    same, alike = identical(folder), near(folder)
    return {
        "images": len(folder.names),
        "classes": counts,
        "imbalance": round(max(counts.values()) / max(1, min(counts.values())), 3),
        "unreadable": folder.unreadable,
        "identical": same,
        "identical_across_classes": across(same),
        "near_duplicates": alike,
        "near_duplicates_across_classes": across(alike),
        "near_duplicates_searched": len(folder.names) <= NEAR_LIMIT,
        "probes": probes(folder),
    }


def for_people(found: dict[str, Any]) -> str:
    lines = [
        f"{found['images']} pictures: {', '.join(f'{name} {count}' for name, count in found['classes'].items())}",
        f"largest class / smallest class: {found['imbalance']:g}",
        f"unreadable files: {len(found['unreadable'])}",
        *(f"  {name}: {why}" for name, why in found["unreadable"].items()),
        f"sets of identical files: {len(found['identical'])}, across classes {len(found['identical_across_classes'])}",
        (
            f"groups of near duplicates: {len(found['near_duplicates'])}, "
            f"across classes {len(found['near_duplicates_across_classes'])}"
        ),
        "shortcut probes, balanced accuracy raw -> preprocessed (chance):",
    ]
    for name, row in found["probes"].items():
        after = f" -> {row['preprocessed']:.2f}" if "preprocessed" in row else ""
        flag = "  SHORTCUT" if row["flagged"] else ""
        lines.append(f"  {name}: {row['raw']:.2f}{after} ({row['chance']:.2f}){flag}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ml.audit", description="Look for what is wrong with a data set.")
    parser.add_argument("--data", required=True, type=Path, help="folder with one folder per class")
    parser.add_argument("--json", action="store_true", help="everything, as one JSON object")
    options = parser.parse_args(arguments)
    try:
        found = audit(options.data)
    except (DataError, OSError) as error:
        print(f"ml.audit: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1) if options.json else for_people(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
