"""`python -m ml.evaluate --weights DIR --data DIR --protocol contiguous --out report.json`: measure a released model.

The protocol says which of the pictures count. "contiguous", "grouped" and "named" take the part that was held out when
the model was trained (the settings are in its manifest); "random" draws pictures at random from the whole folder,
which the model may have been trained on, and says so; "all" takes everything: for a folder of another laboratory.

`--shipped` measures what a laboratory would see: refusals, the second opinion by cells where a picture is unlike the
training data, and abstention; without it the network alone is measured, on every picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ml import config, decode, evaluation
from ml import data as datasets
from ml.data import DataError
from ml.manifest import Manifest, ManifestError
from ml.predictor import BATCH, Prediction, Predictor, WeightsError
from ml.tasks import TASKS, Task
from ml.train import TrainingError, split

LEAST = 1e-9  # probabilities below are taken for this
PROTOCOLS = ("contiguous", "grouped", "named", "random", "all")


def settings_of(manifest: Manifest, task: Task) -> config.TrainConfig:
    """The settings the model was trained with, as far as its manifest keeps them."""
    given = manifest.training.get("settings")
    return config.override(config.DEFAULTS[task.name], given) if given else config.DEFAULTS[task.name]


def choose(data: datasets.Dataset, settings: config.TrainConfig, protocol: str, seed: int) -> tuple[np.ndarray, str]:
    """Positions of the pictures that count, and the sentence that says which."""
    if protocol == "all":
        return np.arange(len(data)), "every picture of the folder, identical files counted once"
    if protocol == "random":
        order = np.random.default_rng(seed).permutation(len(data))
        part = np.sort(order[: max(1, round(settings.held_share * len(data)))])
        return part, "pictures drawn at random; those the model was trained on are among them, so this flatters it"
    wanted = dataclasses.replace(settings, protocol=protocol)
    held = split(data, wanted).held_out
    same = " (the very split of its training)" if protocol == settings.protocol else " (not the split of its training)"
    return held, f"held out by the {protocol} protocol{same}"


def compatible(manifest: Manifest, task: Task) -> None:
    if manifest.codes != task.codes:
        raise DataError(
            f"the model's classes ({', '.join(manifest.codes)}) are not those of {task.name} ({', '.join(task.codes)})"
        )


def shipped(predictor: Predictor, pictures: Sequence[np.ndarray]) -> list[Prediction]:
    """Every picture's answer as a worker gives it."""
    parts = range(0, len(pictures), BATCH)
    return [answer for at in tqdm(parts, unit_scale=BATCH) for answer in predictor.predict(pictures[at : at + BATCH])]


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


def run(
    weights: Path, root: Path, protocol: str, draws: int, seed: int, device: str, *, as_shipped: bool = False
) -> dict[str, Any]:
    """The report of one protocol, with what is needed to repeat it."""
    predictor = Predictor.load(weights, device)
    manifest = predictor.manifest
    if manifest.task not in TASKS:
        raise DataError(f"the task {manifest.task!r} is not known here")
    task = TASKS[manifest.task]
    compatible(manifest, task)
    settings = settings_of(manifest, task)
    data = datasets.without_duplicates(datasets.load(task, root, settings.steps))
    chosen, sentence = choose(data, settings, protocol, seed)
    part = data.keep(chosen)
    pictures = [decode.decode((root / name).read_bytes()) for name in part.names]
    outcome: dict[str, Any] = {}
    if as_shipped:
        answers = shipped(predictor, pictures)
        outcome = {"shipped": given(answers, part.labels, task.codes)}
        seen = [place for place, answer in enumerate(answers) if not answer.refused]
        if not seen:
            raise DataError("the model refuses every one of these pictures, so there is nothing to measure")
        part = part.keep(np.array(seen, dtype=int))
        said = [[answers[place].probabilities[code] for code in task.codes] for place in seen]
        logits = np.log(np.clip(np.array(said), LEAST, None))
        sentence += ", answered as shipped; refused pictures count under `shipped` alone"
    else:
        logits = predictor.logits(pictures)
    groups = evaluation.sessions(part.names, part.labels, part.groups) if task.input == "field" else part.groups
    measured = evaluation.Answers(
        part.names,
        part.labels,
        logits.astype(np.float64),
        groups,
        task.codes,
        [item.malignant for item in task.classes],
    )
    report = evaluation.evaluate(
        measured, name=protocol, protocol=sentence, threshold=manifest.abstention_threshold, draws=draws
    )
    return {
        "schema_version": evaluation.SCHEMA_VERSION,
        "task": task.name,
        "version": manifest.version,
        "data": {"images": len(data), "sha256": data.fingerprint},
        "protocols": [report | outcome],
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.evaluate", description="Measure a released model.")
    parser.add_argument("--weights", required=True, type=Path, help="released model directory")
    parser.add_argument("--data", required=True, type=Path, help="folder holding the class folders")
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS)
    parser.add_argument("--out", required=True, type=Path, help="where the report goes")
    parser.add_argument("--shipped", action="store_true", help="with refusals, second opinion and abstention")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws for the intervals")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        report = run(
            options.weights,
            options.data,
            options.protocol,
            options.draws,
            options.seed,
            options.device,
            as_shipped=options.shipped,
        )
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    except (DataError, ManifestError, WeightsError, TrainingError, OSError) as error:
        print(f"ml.evaluate: {error}", file=sys.stderr)
        return 2
    figures = report["protocols"][0]["overall"]
    said = {name: row["value"] for name, row in figures.items()}
    print(json.dumps(said | report["protocols"][0].get("shipped", {}), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
