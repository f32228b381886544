"""`python -m ml.release --run DIR --data DIR --version X.Y.Z`: from a training run to a released directory.

Writes weights (fp16 safetensors), measures them through the very Predictor that will serve them, and puts what was
measured into manifest.json and report.json. What is released is the averaged network of the last epoch. Temperature
and abstention threshold come from the held-out block; figures after temperature are cross-fitted over its groups.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from ml import checkpoint, config, decode, duplicates, evaluation, metrics, quality, robustness, scale, sources
from ml import data as datasets
from ml.manifest import (
    ClassInfo,
    DataInfo,
    Manifest,
    ManifestError,
    Metrics,
    RefusalInfo,
    SourceInfo,
    StepInfo,
    WeightsInfo,
)
from ml.model import ARCHITECTURE
from ml.predictor import Predictor, WeightsError
from ml.splits import Split
from ml.tasks import TASKS, Task
from ml.train import split as split_of

ROOT = Path(__file__).parent / "weights"
WEIGHTS_FILE = "model.safetensors"
THRESHOLDS = {
    "min_side": 120.0,
    "min_light": 90.0,
    "min_stained": 0.02,
    "min_middle": 0.45,
    "min_colour": 0.003,
    "min_purple": 0.85,
    "min_sharpness": 0.006,
}


class ReleaseError(RuntimeError):
    """The run cannot be released; the message says why."""


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels and matrices in fp16; BatchNorm's vectors stay fp32, where small variances would lose their digits."""
    return {
        key: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for key, value in state.items()
    }


def write_weights(directory: Path, state: dict[str, Tensor]) -> WeightsInfo:
    data = save_safetensors(half(state))
    (directory / WEIGHTS_FILE).write_bytes(data)
    return WeightsInfo(file=WEIGHTS_FILE, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def class_infos(task: Task) -> list[ClassInfo]:
    return [
        ClassInfo(
            code=item.code,
            title=item.title,
            description=item.description,
            malignant=item.malignant,
            colour=item.colour,
        )
        for item in task.classes
    ]


def counts(task: Task, labels: np.ndarray, parts: Split) -> dict[str, dict[str, int]]:
    named = {"train": parts.train, "held_out": parts.held_out, "embargo": parts.dropped}
    return {
        part: {code: int((labels[positions] == index).sum()) for index, code in enumerate(task.codes)}
        for part, positions in named.items()
    }


def protocol_sentence(settings: config.TrainConfig) -> str:
    if settings.protocol == "contiguous":
        first, last = settings.held_start, settings.held_start + settings.held_share
        return (
            f"Per class, one contiguous block of file numbers held out ({first:.0%} to {last:.0%} of the row), "
            "37 numbers on its sides and all near duplicates of it (256-bit difference hash, distance at most 32) "
            "left out of training; identical files counted once."
        )
    return f"Whole groups (patients, near duplicates) held out, about {settings.held_share:.0%} of every class."


class Release:
    """One release in the making: the run, its data, and where it goes."""

    def __init__(self, run: Path, root: Path, version: str, out: Path, earlier: Sequence[Path] = ()) -> None:
        self.state = checkpoint.load(run)
        facts = self.state.facts
        self.task = TASKS[facts["task"]]
        self.version, self.root, self.run, self.earlier = version, root, run, tuple(earlier)
        self.settings = config.override(
            config.DEFAULTS[self.task.name], {**facts["config"], "epochs": facts["planned"][-1][1]}
        )
        found = datasets.load(self.task, root, self.settings.steps)
        if found.fingerprint != facts["fingerprint"]:
            raise ReleaseError(f"{root} no longer holds the data this run was trained on")
        self.data = datasets.without_duplicates(found)
        self.duplicates = len(found) - len(self.data)
        self.parts = split_of(self.data, self.settings)
        self.directory = out / self.task.name / version

    def manifest(self, weights: WeightsInfo, **measured: Any) -> Manifest:
        values: dict[str, Any] = {
            "schema_version": 1,
            "task": self.task.name,
            "version": self.version,
            "title": self.task.title,
            "input": self.task.input,
            "architecture": ARCHITECTURE,
            "classes": class_infos(self.task),
            "preprocessing": [
                StepInfo(name=s.name, version=s.version, enabled=s.enabled, parameters=dict(s.parameters))
                for s in self.settings.steps
            ],
            "microns_per_pixel": scale.TALEQANI if self.task.name == "b-all-stage" else None,
            "weights": weights,
            "temperature": 1.0,
            "abstention_threshold": 0.0,
            "refusal": self.refusal(0.0, "not yet measured"),
            "data": self.data_info(),
            "training": {
                "settings": config.as_dict(self.settings),
                "epochs": self.state.facts["epoch"],
                "planned": facts_of_plan(self.state.facts["planned"]),
                "started_from": self.state.facts.get("started_from"),
                "earlier_stages": self.earlier_stages(),
            },
            "metrics": [],
            "intended_use": sources.INTENDED_USE,
            "limitations": sources.LIMITATIONS,
            "caveats": sources.CAVEATS,
            "licence": sources.LICENCE,
        }
        return Manifest.model_validate({**values, **measured})

    def refusal(self, rate: float, measured_on: str) -> RefusalInfo:
        return RefusalInfo(
            version=quality.VERSION, thresholds=THRESHOLDS, false_refusals=rate, measured_on=measured_on
        )

    def data_info(self) -> DataInfo:
        own = SourceInfo.model_validate(
            {**sources.TALEQANI, "images": len(self.data), "sha256": self.data.fingerprint}
        )
        return DataInfo(
            sources=[own, *self.earlier_sources()],
            split=protocol_sentence(self.settings),
            counts=counts(self.task, self.data.labels, self.parts),
        )

    def earlier_sources(self) -> list[SourceInfo]:
        """The data sets of runs for another task this one builds on; they share one fingerprint, made over all."""
        found = []
        for run in self.earlier:
            record = json.loads((run / "run.json").read_text())
            if record["task"] != self.task.name:
                found += [
                    SourceInfo.model_validate(
                        {**sources.BY_NAME[name], "images": images, "sha256": record["fingerprint"]}
                    )
                    for name, images in sorted(record["sources"].items())
                ]
        return found

    def earlier_stages(self) -> list[dict[str, Any]]:
        """The runs this one builds on, in order, with the epochs they really ran."""
        stages = []
        for run in self.earlier:
            facts = checkpoint.facts(run)
            stages.append({"task": facts["task"], "epochs": facts["epoch"], "settings": facts["config"]})
        return stages

    def curves(self) -> list[dict[str, float]]:
        """Epochs of every stage for this task in one row, numbered through; `stage` counts from 1."""
        rows: list[dict[str, float]] = []
        stage = 0
        for run in [*self.earlier, self.run]:
            if json.loads((run / "run.json").read_text())["task"] == self.task.name:
                stage += 1
                own = json.loads((run / "curves.json").read_text())
                rows += [{**row, "stage": stage, "epoch": len(rows) + index} for index, row in enumerate(own, start=1)]
        return rows

    def pictures(self, positions: np.ndarray) -> list[np.ndarray]:
        """Pictures as delivered."""
        return [decode.decode((self.root / self.data.names[index]).read_bytes()) for index in positions]

    def build(self, draws: int, probes: int) -> Manifest:
        """Write the directory and return its manifest."""
        self.directory.mkdir(parents=True, exist_ok=True)
        weights = write_weights(self.directory, self.state.average)
        self.manifest(weights).write(self.directory)
        predictor = Predictor.load(self.directory)
        pictures = self.pictures(self.parts.held_out)
        report = self.measure(predictor, pictures, draws, probes)
        final = self.manifest(weights, **self.conclusions(report))
        final.write(self.directory)
        (self.directory / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        (self.directory / "curves.json").write_text(json.dumps(self.curves(), indent=1) + "\n")
        return final

    def answers(self, logits: np.ndarray, positions: np.ndarray) -> evaluation.Answers:
        names = [self.data.names[index] for index in positions]
        labels = self.data.labels[positions]
        groups = evaluation.sessions(names, labels, self.data.groups[positions])
        malignant = [item.malignant for item in self.task.classes]
        return evaluation.Answers(names, labels, logits.astype(np.float64), groups, self.task.codes, malignant)

    def embargo(self, predictor: Predictor, threshold: float, draws: int) -> list[dict[str, Any]]:
        """The pictures between the two sides: never trained on, never looked at, but near what was trained on."""
        positions = self.parts.dropped
        if len(positions) == 0:
            return []
        answers = self.answers(predictor.logits(self.pictures(positions)), positions)
        return [
            evaluation.evaluate(
                answers,
                name="embargo-zone",
                protocol="The pictures left out between training and held-out block, near duplicates among them.",
                threshold=threshold,
                draws=draws,
            )
        ]

    def measure(self, predictor: Predictor, pictures: list[np.ndarray], draws: int, probes: int) -> dict[str, Any]:
        began = time.perf_counter()
        answers = self.answers(predictor.logits(pictures), self.parts.held_out)
        seconds = time.perf_counter() - began
        main = evaluation.evaluate(
            answers,
            name="contiguous-block",
            protocol=protocol_sentence(self.settings),
            threshold=None,
            draws=draws,
        )
        refused = [bool(quality.reasons(quality.measure(picture), THRESHOLDS)) for picture in pictures]
        return {
            "schema_version": evaluation.SCHEMA_VERSION,
            "task": self.task.name,
            "version": self.version,
            "data": {
                "images": len(self.data),
                "duplicates_removed": self.duplicates,
                "near_duplicate_groups": near_duplicate_groups(self.data.groups),
                "near_duplicate_distance": duplicates.NEAR,
                "sha256": self.data.fingerprint,
                "counts": counts(self.task, self.data.labels, self.parts),
            },
            "protocols": [main, *self.embargo(predictor, main["selective"]["threshold"], draws)],
            "refusal": {"false_refusals": float(np.mean(refused)), **refusals_of_spoilt(pictures)},
            "robustness": robustness_of(predictor, pictures, answers, probes),
            "cost": {
                "parameters": sum(value.numel() for key, value in self.state.average.items() if "running" not in key),
                "images_per_second": round(len(pictures) / seconds, 1),
                "backend": predictor.backend,
                "threads": torch.get_num_threads(),
            },
        }

    def conclusions(self, report: dict[str, Any]) -> dict[str, Any]:
        """The manifest's measured fields, taken from the report as they stand there."""
        main = report["protocols"][0]
        held_out = f"{main['images']} held-out fields of the same hospital"
        return {
            "temperature": main["calibration"]["temperature"],
            "abstention_threshold": main["selective"]["threshold"],
            "refusal": self.refusal(report["refusal"]["false_refusals"], held_out),
            "metrics": [metrics_of(protocol) for protocol in report["protocols"]],
        }


def facts_of_plan(planned: list[list[int]]) -> list[dict[str, int]]:
    """From which epoch on the schedule was laid out for how many."""
    return [{"from_epoch": start, "epochs": epochs} for start, epochs in planned]


def metrics_of(protocol: dict[str, Any]) -> Metrics:
    """The report's main figures of one protocol, as they stand there."""
    values = {name: row["value"] for name, row in protocol["overall"].items()}
    values.update({f"f1_{code}": row["f1"]["value"] for code, row in protocol["by_class"].items()})
    values["ece_after_temperature"] = protocol["calibration"]["after"]["ece_equal_width"]
    values["risk_at_90_percent_coverage"] = protocol["selective"]["risk_at"]["0.90"]
    return Metrics(name=protocol["name"], protocol=protocol["protocol"], images=protocol["images"], values=values)


def near_duplicate_groups(groups: np.ndarray) -> int:
    return int((np.bincount(groups) > 1).sum())


def refusals_of_spoilt(pictures: list[np.ndarray]) -> dict[str, float]:
    """Share refused (0..1) of the same pictures made unusable, and of pictures that never were smears."""
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, picture.shape, dtype=np.uint8) for picture in pictures[:50]]
    blank = [np.full_like(picture, 40 + 4 * index) for index, picture in enumerate(pictures[:50])]
    cases = {
        "blurred (sigma 3 px at 224)": [robustness.blur(picture, 3.0) for picture in pictures],
        "blurred (sigma 5 px at 224)": [robustness.blur(picture, 5.0) for picture in pictures],
        "evenly filled": blank,
        "random noise": noise,
        "colours turned (green and blue swapped)": [picture[..., [0, 2, 1]] for picture in pictures],
        "without colour": [robustness.grey(picture) for picture in pictures],
    }
    return {
        name: float(np.mean([bool(quality.reasons(quality.measure(picture), THRESHOLDS)) for picture in made]))
        for name, made in cases.items()
    }


def robustness_of(
    predictor: Predictor, pictures: list[np.ndarray], answers: evaluation.Answers, probes: int
) -> dict[str, Any]:
    """Accuracy, macro-F1 and leukaemia figures of `probes` changed held-out pictures, refusing nothing.

    Every k-th picture is taken, so that all classes and sessions are there; empty when `probes` is 0.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(probes, len(pictures))).round().astype(int))
    pictures, labels = [pictures[index] for index in chosen], answers.labels[chosen]
    rows: dict[str, Any] = {}
    if not pictures:
        return rows
    for name, change in {"unchanged": lambda picture: picture, **robustness.CHANGES}.items():
        probabilities = predictor.probabilities([change(picture) for picture in pictures])
        figures = metrics.summary(labels, probabilities)
        binary = metrics.leukaemia(labels, probabilities, answers.malignant)
        rows[name] = {
            "images": len(labels),
            "accuracy": figures["accuracy"],
            "macro_f1": figures["macro_f1"],
            **{f"leukaemia_{key}": value for key, value in binary.items()},
        }
    return rows


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.release", description="Make a release of a training run.")
    parser.add_argument("--run", required=True, type=Path, help="folder ml.train wrote to")
    parser.add_argument("--data", required=True, type=Path, help="the folder it was trained on")
    parser.add_argument(
        "--earlier", type=Path, nargs="*", default=[], help="folders of the runs it builds on, in order"
    )
    parser.add_argument("--version", required=True, help="major.minor.patch")
    parser.add_argument("--out", type=Path, default=ROOT, help="root of the released weights")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws for the intervals")
    parser.add_argument("--probes", type=int, default=120, help="pictures for each robustness test (0: none)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        release = Release(options.run, options.data, options.version, options.out, options.earlier)
        made = release.build(options.draws, options.probes)
    except (ReleaseError, checkpoint.CheckpointError, datasets.DataError, ManifestError, WeightsError) as error:
        print(f"ml.release: {error}", file=sys.stderr)
        return 2
    print(json.dumps(made.metrics[0].values, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
