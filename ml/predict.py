"""`python -m ml.predict PATH... --json`: classify pictures without Django or a database.

One JSON line per picture, written as soon as its batch is done. Folders are walked recursively in sorted order.
Exit code 0 unless the arguments are wrong or nothing could be read (2).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml import manifest

if TYPE_CHECKING:
    from ml.predictor import Prediction, Predictor

WEIGHTS = Path(__file__).parent / "weights"
TASK = "b-all-stage"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})


class UsageError(Exception):
    """The command cannot be carried out as given; the message is a sentence for people."""


def walk(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as named, folders as their pictures in sorted order; hidden files and folders are left out."""
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist.")
        if path.is_dir():
            inside = (item for item in path.rglob("*") if item.suffix.lower() in SUFFIXES and item.is_file())
            yield from sorted(item for item in inside if not hidden(item.relative_to(path)))
        else:
            yield path


def hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def predict_files(
    predictor: Predictor, files: Iterable[Path], batch: int, microns_per_pixel: float | None = None
) -> Iterator[tuple[dict[str, Any], bool]]:
    """(line, readable) per file in order; at most one batch of pictures is in memory."""
    from ml.decode import DecodeError, decode

    waiting: list[tuple[Path, Any]] = []
    for path in files:
        try:
            waiting.append((path, decode(path.read_bytes())))
        except (DecodeError, OSError) as error:
            print(f"{path}: {error}", file=sys.stderr, flush=True)
            waiting.append((path, None))
        if len(waiting) == batch:
            yield from answer(predictor, waiting, batch, microns_per_pixel)
            waiting = []
    yield from answer(predictor, waiting, batch, microns_per_pixel)


def answer(
    predictor: Predictor, waiting: list[tuple[Path, Any]], batch: int, microns_per_pixel: float | None
) -> Iterator[tuple[dict[str, Any], bool]]:
    images = [image for _, image in waiting if image is not None]
    results = iter(predictor.predict(images, batch, [microns_per_pixel] * len(images)))
    for path, image in waiting:
        found = predictor.refusal(("unreadable",)) if image is None else next(results)
        yield line(path, found), image is not None


def line(path: Path, found: Prediction) -> dict[str, Any]:
    return {
        "path": str(path),
        "task": found.task,
        "model": found.model,
        "class": found.label,
        "probabilities": found.probabilities,
        "confidence": found.confidence,
        "refused": found.refused,
        "abstained": found.abstained,
        "reasons": list(found.reasons),
        "prediction_set": list(found.prediction_set),
        "cells": [
            {"box": list(cell.box), "class": cell.label, "probabilities": cell.probabilities} for cell in found.cells
        ],
    }


def for_people(row: dict[str, Any]) -> str:
    if row["refused"]:
        return f"{row['path']}: refused ({', '.join(row['reasons'])})"
    unsure = ", uncertain" if row["abstained"] else ""
    return f"{row['path']}: {row['class']} {row['confidence']:.3f}{unsure}"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.predict", description="Classify smear pictures.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="picture files or folders of them")
    parser.add_argument("--json", action="store_true", help="one JSON object per picture")
    parser.add_argument("--weights", type=Path, help=f"released model directory (default: newest {TASK})")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--batch", type=int, default=16, help="pictures per pass (default 16)")
    parser.add_argument(
        "--microns-per-pixel",
        type=float,
        metavar="X",
        help="width of a pixel of all these pictures in micrometres (default: guessed from the cells)",
    )
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error("--batch must be at least 1")
    if options.microns_per_pixel is not None and not 0 < options.microns_per_pixel < math.inf:
        parser.error("--microns-per-pixel must be above 0")
    return options


def run(options: argparse.Namespace) -> int:
    """Number of pictures read; the heavy imports wait until the arguments are known to be good."""
    files = list(walk(options.paths))
    if not files:
        raise UsageError("There are no pictures in the given folders.")
    directory = options.weights or manifest.newest(WEIGHTS, TASK)
    manifest.Manifest.read(directory)
    from ml.predictor import Predictor, WeightsError

    try:
        predictor = Predictor.load(directory, options.device)
    except WeightsError as error:
        raise UsageError(str(error)) from error
    read = 0
    for row, readable in predict_files(predictor, files, options.batch, options.microns_per_pixel):
        print(json.dumps(row) if options.json else for_people(row), flush=True)
        read += readable
    return read


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        read = run(options)
    except (UsageError, manifest.ManifestError) as error:
        print(f"ml.predict: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    if read == 0:
        print("ml.predict: none of the files could be read.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
