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
import time
from pathlib import Path
from typing import Any

import numpy as np

from ml import config, decode, evaluation, shipped
from ml import data as datasets
from ml.data import DataError
from ml.manifest import Manifest, ManifestError
from ml.predictor import Predictor, WeightsError
from ml.scrutiny import Looked, scrutinised
from ml.tasks import TASKS, Task
from ml.train import TrainingError, split

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


def run(
    weights: Path,
    root: Path,
    protocol: str,
    draws: int,
    seed: int,
    device: str,
    *,
    as_shipped: bool = False,
    probes: int = 0,
) -> dict[str, Any]:
    """The report of one protocol, with what is needed to repeat it, and unless `probes` is 0 all of `ml.scrutiny`."""
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
    groups = evaluation.sessions(part.names, part.labels, part.groups) if task.input == "field" else part.groups
    malignant = [item.malignant for item in task.classes]
    asked = evaluation.Answers(part.names, part.labels, np.zeros((len(part), 1)), groups, task.codes, malignant)
    outcome: dict[str, Any] = {}
    if as_shipped:
        said = shipped.answers_of(predictor, pictures)
        outcome = {"shipped": shipped.given(said, part.labels, task.codes)}
        answers = shipped.measured(said, asked)
        sentence += f", {shipped.SENTENCE}"
    else:
        began = time.perf_counter()
        outputs = predictor.outputs(pictures)
        speed = len(pictures) / (time.perf_counter() - began)
        answers = dataclasses.replace(asked, logits=predictor.biased(outputs).astype(np.float64))
    report = evaluation.evaluate(
        answers, name=protocol, protocol=sentence, threshold=manifest.abstention_threshold, draws=draws
    )
    around: dict[str, Any] = {}
    if not as_shipped and probes:
        looked = Looked(predictor, pictures, answers, predictor.distances(outputs), speed)
        around = scrutinised(looked, pictures, report, root, probes)
    return {
        "schema_version": evaluation.SCHEMA_VERSION,
        "task": task.name,
        "version": manifest.version,
        "data": {"images": len(data), "sha256": data.fingerprint},
        "protocols": [report | outcome],
        **around,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.evaluate", description="Measure a released model.")
    parser.add_argument("--weights", required=True, type=Path, help="released model directory")
    parser.add_argument("--data", required=True, type=Path, help="folder holding the class folders")
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS)
    parser.add_argument("--out", required=True, type=Path, help="where the report goes")
    parser.add_argument("--shipped", action="store_true", help="with refusals, second opinion and abstention")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws for the intervals")
    parser.add_argument(
        "--probes",
        type=int,
        default=120,
        help="pictures for each robustness test (0: the figures of the protocol alone); not with --shipped",
    )
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
            probes=options.probes,
        )
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    except (DataError, ManifestError, WeightsError, TrainingError, ValueError, OSError) as error:
        print(f"ml.evaluate: {error}", file=sys.stderr)
        return 2
    figures = report["protocols"][0]["overall"]
    said = {name: row["value"] for name, row in figures.items()}
    print(json.dumps(said | report["protocols"][0].get("shipped", {}), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
