"""Pictures of another laboratory, which no network here has learned from: leukaemia against benign alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml import decode, evaluation, opinion
from ml.data import list_images
from ml.predictor import Predictor

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


def answers(predictor: Predictor, root: Path, foreign: Foreign) -> evaluation.Answers | None:
    """What the model says of every picture, refusing nothing, as two classes; None where the folder is not there."""
    files = [
        (path, malignant)
        for folder, malignant in foreign.folders.items()
        for path in list_images(root / foreign.name / folder)
    ]
    if not files:
        return None
    rows = predictor.probabilities([decode.decode(path.read_bytes()) for path, _ in files])
    share = rows[:, opinion.malignant_of(predictor.manifest)].sum(1)
    logits = np.log(np.clip(np.stack([1 - share, share], axis=1), 1e-9, 1.0))
    names = [path.relative_to(root).as_posix() for path, _ in files]
    labels = np.array([int(malignant) for _, malignant in files], dtype=np.int64)
    return evaluation.Answers(names, labels, logits, np.arange(len(files)), CODES, [False, True])
