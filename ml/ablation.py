"""`python -m ml.ablation --task ... --data DIR --trunk RUN --out FILE`: which preprocessing steps earn their place.

Every variant turns one step of the task's list on or off. A frozen trunk that never saw these pictures turns them into
features, and a plain classifier on these is scored twice: on contiguous folds and on a random split. A step that helps
only under the random split helps to recognise slides.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from ml import config, decode, model, splits
from ml import data as datasets
from ml.checkpoint import CheckpointError
from ml.preprocessing import Step, apply
from ml.tasks import TASKS
from ml.train import earlier_weights, normalised, to_input

FOLDS = 3
BATCH = 32


def variants(steps: tuple[Step, ...]) -> Iterator[tuple[str, tuple[Step, ...]]]:
    """The list as it is, then with one step after the other switched; resize and normalise cannot be left out."""
    yield "as released", steps
    for place, step in enumerate(steps):
        if step.name not in ("resize", "normalise"):
            switched = replace(step, enabled=not step.enabled)
            name = f"{'without' if step.enabled else 'with'} {step.name.replace('_', ' ')}"
            yield name, (*steps[:place], switched, *steps[place + 1 :])


@torch.inference_mode()
def features(net: nn.Module, pictures: np.ndarray, settings: config.TrainConfig) -> np.ndarray:
    """Float (N, 2048) of preprocessed pictures uint8 (N, H, W, 3)."""
    parts = []
    for start in range(0, len(pictures), BATCH):
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(net(normalised(to_input(pictures[start : start + BATCH]), settings)).float().numpy())
    return np.concatenate(parts)


def scored(values: np.ndarray, labels: np.ndarray, parts: list[splits.Split]) -> dict[str, float]:
    """Accuracy and macro-F1 of a linear classifier, answers of the held-out parts pooled."""
    truth, said = [], []
    for part in parts:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        probe.fit(values[part.train], labels[part.train])
        truth.append(labels[part.held_out])
        said.append(probe.predict(values[part.held_out]))
    right, guess = np.concatenate(truth), np.concatenate(said)
    return {
        "accuracy": float(accuracy_score(right, guess)),
        "macro_f1": float(f1_score(right, guess, average="macro")),
    }


def ablate(task_name: str, root: Path, trunk: Path, every: int) -> dict[str, Any]:
    """Figures by variant; `every` takes one picture in so many, in order of file numbers."""
    task = TASKS[task_name]
    settings = config.DEFAULTS[task_name]
    _, state = earlier_weights(trunk)
    net = model.build(len(task.classes))
    model.load_trunk(net, state)
    net.fc = nn.Identity()
    net.eval().to(memory_format=torch.channels_last)
    data = datasets.without_duplicates(datasets.load(task, root, settings.steps))
    data = data.keep(np.arange(0, len(data), every))
    raw = [decode.decode((root / name).read_bytes()) for name in data.names]
    honest = [
        splits.contiguous(data.names, data.labels, data.groups, start=fold / FOLDS, share=1 / FOLDS)
        for fold in range(FOLDS)
    ]
    flattering = [splits.random(data.labels, share=1 / FOLDS, seed=seed) for seed in range(FOLDS)]
    rows: dict[str, Any] = {}
    for name, steps in variants(settings.steps):
        bare = [step for step in steps if step.name != "normalise"]
        values = features(net, np.stack([apply(picture, bare) for picture in raw]), settings)
        rows[name] = {"contiguous": scored(values, data.labels, honest)}
        rows[name]["random"] = scored(values, data.labels, flattering)
        print(name, json.dumps(rows[name]), flush=True)
    return {"task": task_name, "pictures": len(data), "folds": FOLDS, "variants": rows}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ml.ablation", description="Which preprocessing steps help.")
    parser.add_argument("--task", required=True, choices=sorted(TASKS))
    parser.add_argument("--data", required=True, type=Path, help="folder holding the class folders")
    parser.add_argument("--trunk", required=True, type=Path, help="run or release of another task")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--every", type=int, default=1, help="take one picture in so many")
    options = parser.parse_args(arguments)
    try:
        found = ablate(options.task, options.data, options.trunk, options.every)
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    except (datasets.DataError, CheckpointError, ValueError, OSError) as error:
        print(f"ml.ablation: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
