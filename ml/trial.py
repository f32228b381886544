"""A finished training run beside its data: which pictures it held out, and what its network says of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ml import checkpoint, config, decode, evaluation, familiarity, model
from ml import data as datasets
from ml.checkpoint import Checkpoint
from ml.familiarity import Familiarity
from ml.manifest import FILE_NAME as MANIFEST
from ml.manifest import Manifest
from ml.predictor import Predictor, choose_engine, network, network_weights, read_weights
from ml.splits import Split
from ml.tasks import TASKS, Task
from ml.train import split as split_of


class TrialError(RuntimeError):
    """The run does not go with the data or with the other runs; the message says which and why."""


@dataclass(frozen=True)
class Material:
    """A data set as it lies on disk, identical files counted once; `groups` (N,) are what a bootstrap draws.

    Where no patients are named, runs of ten file numbers stand in for them (`evaluation.sessions`).
    """

    task: Task
    root: Path
    data: datasets.Dataset
    groups: np.ndarray
    duplicates: int

    @classmethod
    def read(cls, task: Task, root: Path, settings: config.TrainConfig) -> Material:
        found = datasets.load(task, root, settings.steps)
        data = datasets.without_duplicates(found)
        field = task.input == "field"
        groups = evaluation.sessions(data.names, data.labels, data.groups) if field else data.groups
        return cls(task, root, data, groups, len(found) - len(data))

    def pictures(self, positions: np.ndarray) -> list[np.ndarray]:
        """Pictures as delivered."""
        return [decode.decode((self.root / self.data.names[index]).read_bytes()) for index in positions]

    def answers(self, logits: np.ndarray, positions: np.ndarray) -> evaluation.Answers:
        return evaluation.Answers(
            [self.data.names[index] for index in positions],
            self.data.labels[positions],
            logits.astype(np.float64),
            self.groups[positions],
            self.task.codes,
            [item.malignant for item in self.task.classes],
        )

    def sources(self) -> dict[str, int]:
        """Pictures by data set: the root itself, or its folders where it holds several."""
        if self.task.input == "field":
            return {self.root.resolve().name: len(self.data)}
        return datasets.sources(self.data)


class Trial:
    """One run, or a release that is to be measured and described anew with the same weights.

    Its network is the averaged one, in the very numbers that a release would ship. `before` is what the release's own
    manifest says of earlier runs, None for a run.
    """

    before: Manifest | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if (folder / MANIFEST).exists():
            self.before = Manifest.read(folder)
            self.state = state_of(folder, self.before)
        else:
            self.state = checkpoint.load(folder)
        facts = self.state.facts
        self.task = TASKS[facts["task"]]
        self.settings = config.override(
            config.DEFAULTS[self.task.name], {**facts["config"], "epochs": facts["planned"][-1][1]}
        )

    def attach(self, material: Material) -> Trial:
        """Say which data it was trained on; raises TrialError where that is not the data it saw."""
        if material.data.fingerprint != self.state.facts["fingerprint"]:
            raise TrialError(f"{material.root} no longer holds the data that {self.folder} was trained on")
        self.material = material
        return self

    @cached_property
    def parts(self) -> Split:
        return split_of(self.material.data, self.settings)

    def predictor(self, manifest: Manifest) -> Predictor:
        """The network of this run behind another release's manifest, whose preprocessing must be its own.

        It gives its features too, and knows how familiar a picture is once `learned` has seen some.
        """
        net = network(manifest, half(self.state.average))
        model.give_features(net)
        return Predictor(manifest, net, choose_engine("auto"))

    def learned(self, predictor: Predictor, most: int = 1500) -> Familiarity:
        """What the pictures this run was trained on look like to its network; at most `most` of them, drawn evenly."""
        train = self.parts.train
        chosen = train[np.unique(np.linspace(0, len(train) - 1, min(most, len(train))).round().astype(int))]
        outputs = predictor.outputs(self.material.pictures(chosen))
        return familiarity.fit(outputs[:, len(self.task.classes) :], self.material.data.labels[chosen])

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return found

    def stages(self) -> list[dict[str, Any]]:
        """The runs its weights come from, as far as they are known, in order, with the epochs they really ran."""
        facts = self.state.facts
        own = {"task": facts["task"], "epochs": facts["epoch"], "settings": facts["config"]}
        return [*(self.before.training["earlier_stages"] if self.before else []), own]

    def curves(self) -> list[dict[str, float]]:
        found: list[dict[str, float]] = json.loads((self.folder / "curves.json").read_text())
        return found


def state_of(folder: Path, manifest: Manifest) -> Checkpoint:
    """A release as the end of the run it came from, as far as its manifest keeps that."""
    weights = network_weights(read_weights(folder, manifest))
    made = manifest.training
    own = next(source for source in manifest.data.sources if source.role == "training")
    facts = {
        "task": manifest.task,
        "config": made["settings"],
        "epoch": made["epochs"],
        "planned": [[row["from_epoch"], row["epochs"]] for row in made["planned"]],
        "started_from": made.get("started_from"),
        "fingerprint": own.sha256,
    }
    return Checkpoint(network=weights, average=weights, optimiser={}, facts=facts)


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels and matrices in fp16; BatchNorm's vectors stay fp32, where small variances would lose their digits, and
    so does what tells how familiar a picture is."""

    def shrunk(key: str, value: Tensor) -> Tensor:
        halved = value.is_floating_point() and value.ndim > 1 and not key.startswith(familiarity.PREFIX)
        return (value.half() if halved else value).contiguous()

    return {key: shrunk(key, value) for key, value in state.items()}
