"""What a laboratory would see: refusals, the second opinion by cells, abstention, and what all that leaves wrong."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ml.data import DataError
from ml.evaluation import Answers
from ml.predictor import BATCH, Prediction, Predictor

SENTENCE = "answered as shipped; refused pictures count under `shipped` alone"
LEAST = 1e-9  # probabilities below are taken for this


def answers_of(predictor: Predictor, pictures: Sequence[np.ndarray], scale: float | None = None) -> list[Prediction]:
    """Every picture's answer as a worker gives it; `scale`: micrometres to a pixel of all, None where not known."""
    found: list[Prediction] = []
    for at in tqdm(range(0, len(pictures), BATCH), unit_scale=BATCH):
        part = pictures[at : at + BATCH]
        found += predictor.predict(part, microns_per_pixel=[scale] * len(part))
    return found


def given(answers: Sequence[Prediction], labels: np.ndarray, codes: Sequence[str]) -> dict[str, Any]:
    """What became of the pictures: how many were refused, left open or answered, and how many answers were wrong.

    Returns:
        `images`, `refused`, `abstained`, `answered`, `answered_wrong`: counts that add up; `wrong_of_answered`: share,
        None where nothing was answered; `reasons`: how often each was given.
    """
    answered = [
        (answer.label, codes[label])
        for answer, label in zip(answers, labels, strict=True)
        if not answer.refused and not answer.abstained
    ]
    wrong = sum(said != truth for said, truth in answered)
    refused = sum(answer.refused for answer in answers)
    return {
        "images": len(answers),
        "refused": refused,
        "abstained": len(answers) - refused - len(answered),
        "answered": len(answered),
        "answered_wrong": wrong,
        "wrong_of_answered": wrong / len(answered) if answered else None,
        "reasons": dict(Counter(reason for answer in answers for reason in answer.reasons)),
    }


def seen_of(said: Sequence[Prediction]) -> np.ndarray:
    """Places of the pictures that were not refused; raises DataError where every one was."""
    seen = np.array([place for place, answer in enumerate(said) if not answer.refused], dtype=np.int64)
    if not len(seen):
        raise DataError("the model refuses every one of these pictures, so there is nothing to measure")
    return seen


def measured(said: Sequence[Prediction], asked: Answers) -> Answers:
    """`asked`, whose logits do not count, with what was said of each picture that was not refused (see `seen_of`)."""
    seen = seen_of(said)
    rows = [[said[place].probabilities[code] for code in asked.codes] for place in seen]
    return dataclasses.replace(asked.part(seen), logits=np.log(np.clip(np.array(rows), LEAST, None)))
