"""Pictures of another laboratory, which no network here has learned from: leukaemia against benign alone.

`python -m ml.external --weights DIR --data DIR --benign FOLDER … --leukaemia FOLDER … --out report.json` says how a
released model does on pictures of which no more is known than that. Of fields it measures the network alone, the cells
alone, and both together as shipped, with refusals and abstention.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml import decode, evaluation, opinion, shipped
from ml.data import DataError, list_images
from ml.manifest import ManifestError
from ml.metrics import Floats, Ints
from ml.predictor import BATCH, Prediction, Predictor, WeightsError

CODES = ("benign", "leukaemia")


@dataclass(frozen=True)
class Foreign:
    """A data set by its folder, with the input kind it suits and whether each class folder is leukaemia."""

    name: str
    input: str
    folders: dict[str, bool]
    sentence: str


SETS = (
    Foreign(
        "all_idb2",
        "single_cell",
        {"Healthy": False, "ALL": True},
        (
            "Leukaemia against benign on single cells of another hospital and microscope, none of them learned from "
            "(Donida Labati, Piuri, Scotti, ICIP 2011, doi:10.1109/ICIP.2011.6115881). No patients are named: each "
            "cell counts as its own group, so the intervals are too narrow."
        ),
    ),
)


@dataclass(frozen=True)
class Marked:
    """Decoded pictures, their names, and whether each is leukaemia: `labels` (N,) are places in CODES."""

    names: list[str]
    pictures: list[np.ndarray]
    labels: Ints

    def answers(self, share: Floats) -> evaluation.Answers:
        """With the probability of leukaemia (N,) that something gives each."""
        logits = np.log(np.clip(np.stack([1 - share, share], axis=1), 1e-9, 1.0))
        return evaluation.Answers(self.names, self.labels, logits, np.arange(len(self.names)), CODES, [False, True])

    def part(self, kept: Sequence[int]) -> Marked:
        return Marked([self.names[at] for at in kept], [self.pictures[at] for at in kept], self.labels[list(kept)])


def read(root: Path, folders: dict[str, bool]) -> Marked:
    """The pictures of the folders under `root`; raises DataError for a file that is none."""
    names, pictures, labels = [], [], []
    for folder, leukaemia in folders.items():
        for path in list_images(root / folder):
            try:
                pictures.append(decode.decode(path.read_bytes()))
            except decode.DecodeError as error:
                raise DataError(f"{path} cannot be read as a picture: {error}") from error
            names.append(path.relative_to(root).as_posix())
            labels.append(int(leukaemia))
    return Marked(names, pictures, np.array(labels, dtype=np.int64))


def answers(predictor: Predictor, root: Path, foreign: Foreign) -> evaluation.Answers | None:
    """What the model says of every picture, refusing nothing, as two classes; None where the folder is not there."""
    found = read(root, {f"{foreign.name}/{folder}": leukaemia for folder, leukaemia in foreign.folders.items()})
    if not found.names:
        return None
    rows = predictor.probabilities(found.pictures)
    return found.answers(rows[:, opinion.malignant_of(predictor.manifest)].sum(1))


def by_network(predictor: Predictor, pictures: Sequence[np.ndarray], scale: float | None) -> Floats:
    """Probability of leukaemia (N,) by the network alone."""
    rows, _ = predictor.pooled([predictor.views(picture, scale) for picture in pictures], BATCH)
    share: Floats = rows[:, opinion.malignant_of(predictor.manifest)].sum(1)
    return share


def run(
    weights: Path, root: Path, folders: dict[str, bool], scale: float | None, draws: int, device: str = "auto"
) -> dict[str, Any]:
    """The report, of all pictures that are not refused; `scale`: micrometres to a pixel, None where it is not known.

    Raises DataError where a folder holds no picture, one cannot be read, or all are refused.
    """
    for folder in folders:
        if not list_images(root / folder):
            raise DataError(f"there are no pictures in {root / folder}")
    predictor = Predictor.load(weights, device)
    predictor.types_every_field = predictor.second_opinion is not None
    found = read(root, folders)
    malignant = [item.code for item in predictor.manifest.classes if item.malignant]
    said = [in_two(answer, malignant) for answer in shipped.answers_of(predictor, found.pictures, scale)]
    kept = [int(place) for place in shipped.seen_of(said)]
    seen, answered = found.part(kept), [said[place] for place in kept]
    shares = {"the network alone": by_network(predictor, seen.pictures, scale)}
    if predictor.second_opinion:
        shares["the cells alone"] = np.array([predictor.leukaemia_by(answer.cells) for answer in answered])
    shares["as shipped"] = np.array([answer.probabilities["leukaemia"] for answer in answered])
    judged = {
        name: evaluation.overall(seen.answers(share), np.stack([1 - share, share], axis=1), draws)
        for name, share in shares.items()
    }
    return {
        "schema_version": evaluation.SCHEMA_VERSION,
        "task": predictor.manifest.task,
        "version": predictor.manifest.version,
        "data": {"images": len(said), "folders": folders, "microns_per_pixel": scale},
        "judged_by": judged,
        "shipped": shipped.given(said, found.labels, CODES),
    }


def in_two(answer: Prediction, malignant: Sequence[str]) -> Prediction:
    """An answer in terms of CODES; `malignant` are the model's classes that are leukaemia."""
    if answer.label is None:
        return answer
    share = sum(answer.probabilities[code] for code in malignant)
    return dataclasses.replace(
        answer,
        label=CODES[answer.label in malignant],
        probabilities=dict(zip(CODES, (1 - share, share), strict=True)),
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ml.external", description="Measure a released model on pictures of another laboratory."
    )
    parser.add_argument("--weights", required=True, type=Path, help="released model directory")
    parser.add_argument("--data", required=True, type=Path, help="folder holding the folders named next")
    parser.add_argument("--benign", required=True, nargs="+", help="folders of pictures without leukaemia")
    parser.add_argument("--leukaemia", required=True, nargs="+", help="folders of pictures with leukaemia")
    parser.add_argument("--microns-per-pixel", type=float, help="scale of all the pictures, where it is known")
    parser.add_argument("--out", required=True, type=Path, help="where the report goes")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws for the intervals")
    parser.add_argument("--device", default="auto")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    folders = {**dict.fromkeys(options.benign, False), **dict.fromkeys(options.leukaemia, True)}
    scale = options.microns_per_pixel
    try:
        if scale is not None and not 0 < scale < math.inf:
            raise DataError(f"--microns-per-pixel is {scale}: it must be more than 0")
        if both := sorted(set(options.benign) & set(options.leukaemia)):
            raise DataError(f"{', '.join(both)} is named both benign and leukaemia")
        report = run(options.weights, options.data, folders, scale, options.draws, options.device)
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    except (DataError, ManifestError, WeightsError, ValueError, OSError) as error:
        print(f"ml.external: {error}", file=sys.stderr)
        return 2
    for name, figures in report["judged_by"].items():
        row = figures["leukaemia_auroc"]
        print(f"{name}: AUROC {row['value']} ({row['low']} to {row['high']})")
    print(json.dumps(report["shipped"], indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
