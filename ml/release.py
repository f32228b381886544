"""`python -m ml.release --run DIR --data DIR --version X.Y.Z`: from training runs to a released directory.

Writes weights (fp16 safetensors), measures them through the very Predictor that will serve them, and puts what was
measured into manifest.json and report.json. What is released is the averaged network of the run's last epoch.

A run that learned from everything has nothing left to be measured on: then `--folds` names runs of the same recipe
that held out one contiguous block each, whose answers are pooled, and temperature, thresholds and figures are theirs.
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

from ml import (
    audit,
    calibration,
    checkpoint,
    config,
    duplicates,
    evaluation,
    explain,
    external,
    familiarity,
    quality,
    scale,
    sources,
    stress,
)
from ml import data as datasets
from ml.describe import (
    OF_ITS_OWN,
    THRESHOLDS,
    ReleaseError,
    class_infos,
    counts,
    facts_of_plan,
    familiar,
    folds_sentence,
    metrics_of,
    near_duplicate_groups,
    opinion_of,
    protocol_sentence,
    source_infos,
    split_name,
    step_infos,
)
from ml.manifest import (
    ConformalInfo,
    DataInfo,
    Manifest,
    ManifestError,
    RefusalInfo,
    SourceInfo,
    WeightsInfo,
)
from ml.model import ARCHITECTURE
from ml.predictor import Predictor, WeightsError
from ml.trial import Material, Trial, TrialError, half

ROOT = Path(__file__).parent / "weights"
WEIGHTS_FILE = "model.safetensors"
MISS = 0.05
RISK = 0.005
LEAST_COVERAGE = 0.8


def write_weights(directory: Path, state: dict[str, Tensor]) -> WeightsInfo:
    data = save_safetensors(half(state))
    (directory / WEIGHTS_FILE).write_bytes(data)
    return WeightsInfo(file=WEIGHTS_FILE, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


class Release:
    """One release in the making: the run, the runs that measure its recipe, their data, and where it goes."""

    def __init__(
        self,
        run: Path,
        root: Path,
        version: str,
        out: Path,
        *,
        earlier: Sequence[Path] = (),
        folds: Sequence[Path] = (),
        beside: Sequence[Path] = (),
        second_opinion: Path | None = None,
    ) -> None:
        self.trial, self.version = Trial(run), version
        self.task, self.settings = self.trial.task, self.trial.settings
        self.earlier = [Trial(each) for each in earlier]
        self.folds = [Trial(each) for each in folds]
        self.beside = [Trial(each) for each in beside]
        self.material = Material.read(self.task, root, self.settings)
        for trial in (self.trial, *self.folds, *self.beside):
            if trial.settings.steps != self.settings.steps or trial.task != self.task:
                raise ReleaseError(f"{trial.folder} was trained for another task or with other preprocessing")
            trial.attach(self.material)
        if not self.folds and len(self.trial.parts.held_out) == 0:
            raise ReleaseError(f"{run} held nothing out; name runs that did with --folds")
        self.other = Manifest.read(second_opinion) if second_opinion else None
        self.thresholds = THRESHOLDS[self.task.input]
        self.directory = out / self.task.name / version

    @property
    def measured(self) -> Sequence[Trial]:
        """The runs whose held-out answers the figures come from."""
        return self.folds or [self.trial]

    def manifest(self, weights: WeightsInfo, **measured: Any) -> Manifest:
        text = sources.TEXTS[self.task.name]
        values: dict[str, Any] = {
            "schema_version": 1,
            "task": self.task.name,
            "version": self.version,
            "title": self.task.title,
            "experimental": self.task.experimental,
            "input": self.task.input,
            "architecture": ARCHITECTURE,
            "classes": class_infos(self.task),
            "preprocessing": step_infos(self.settings),
            "microns_per_pixel": scale.TALEQANI if self.task.name == "b-all-stage" else None,
            "weights": weights,
            "temperature": 1.0,
            "abstention_threshold": 0.0,
            "refusal": self.refusal(0.0, "not yet measured"),
            "data": self.data_info(),
            "training": {
                "settings": config.as_dict(self.settings),
                "epochs": self.trial.state.facts["epoch"],
                "planned": facts_of_plan(self.trial.state.facts["planned"]),
                "started_from": self.trial.state.facts.get("started_from"),
                "earlier_stages": self.earlier_stages(),
            },
            "metrics": [],
            "intended_use": text.intended_use,
            "limitations": list(text.limitations),
            "caveats": list(text.caveats),
            "licence": sources.LICENCE,
        }
        return Manifest.model_validate({**values, **measured})

    def refusal(self, rate: float, measured_on: str) -> RefusalInfo:
        return RefusalInfo(
            version=quality.VERSION, thresholds=self.thresholds, false_refusals=rate, measured_on=measured_on
        )

    def data_info(self) -> DataInfo:
        own = source_infos(self.material.sources(), self.material.data.fingerprint, "training")
        known = {source.name for source in own}
        before = [source for source in self.earlier_sources() if source.name not in known]
        return DataInfo(
            sources=[*own, *before],
            split=folds_sentence(self.folds) if self.folds else protocol_sentence(self.settings),
            counts=counts(self.task, self.material.data.labels, self.trial.parts),
        )

    def earlier_sources(self) -> list[SourceInfo]:
        """The data sets of runs for another task this one builds on; they share one fingerprint, made over all."""
        if self.trial.before:
            return [source for source in self.trial.before.data.sources if source.role == "pretraining"]
        found: dict[str, SourceInfo] = {}
        for record in (trial.record() for trial in self.earlier):
            if record["task"] != self.task.name:
                infos = source_infos(record["sources"], record["fingerprint"], "pretraining")
                found.update({info.name: info for info in infos})
        return list(found.values())

    def earlier_stages(self) -> list[dict[str, Any]]:
        """The runs this one builds on, in order, with the epochs they really ran."""
        if self.trial.before:
            stages: list[dict[str, Any]] = self.trial.before.training["earlier_stages"]
            return stages
        facts = [trial.state.facts for trial in self.earlier]
        return [{"task": fact["task"], "epochs": fact["epoch"], "settings": fact["config"]} for fact in facts]

    def curves(self) -> list[dict[str, float]]:
        """Epochs of every stage for this task in one row, numbered through; `stage` counts from 1."""
        if self.trial.before:
            return self.trial.curves()
        rows: list[dict[str, float]] = []
        stages = [trial for trial in [*self.earlier, self.trial] if trial.task == self.task]
        for stage, trial in enumerate(stages, start=1):
            rows += [
                {**row, "stage": stage, "epoch": len(rows) + index}
                for index, row in enumerate(trial.curves(), start=1)
            ]
        return rows

    def build(self, draws: int, probes: int) -> Manifest:
        """Write the directory and return its manifest."""
        self.directory.mkdir(parents=True, exist_ok=True)
        state = self.trial.state.average
        manifest = self.manifest(write_weights(self.directory, state))
        if self.task.input == "field":
            known = self.trial.learned(self.trial.predictor(manifest))
            manifest = self.manifest(write_weights(self.directory, {**state, **known.state}))
        report, found = self.measure(manifest, draws, probes)
        if self.other:
            found |= {"second_opinion": opinion_of(self.other), "cell_classes": self.other.classes}
        final = self.manifest(manifest.weights, **found, **self.conclusions(report))
        final.write(self.directory)
        (self.directory / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        (self.directory / "curves.json").write_text(json.dumps(self.curves(), indent=1) + "\n")
        return final

    def measure(self, manifest: Manifest, draws: int, probes: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The whole report, and what the manifest takes from the same answers besides."""
        classes = len(self.task.classes)
        began, parts, distances = time.perf_counter(), [], []
        predictors = [trial.predictor(manifest) for trial in self.measured]
        outputs = [
            predictor.outputs(self.material.pictures(trial.parts.held_out))
            for trial, predictor in zip(self.measured, predictors, strict=True)
        ]
        seconds = time.perf_counter() - began
        for trial, predictor, given in zip(self.measured, predictors, outputs, strict=True):
            parts.append(self.material.answers(given[:, :classes], trial.parts.held_out))
            if self.task.input == "field":
                predictor.familiarity = trial.learned(predictor)
                distances.append(predictor.distances(given))
        pooled = evaluation.pooled(parts)
        main = evaluation.evaluate(
            pooled,
            name=self.main_name(),
            protocol=self.data_info().split,
            threshold=None,
            draws=draws,
            risk=RISK,
            least_coverage=LEAST_COVERAGE,
        )
        threshold = main["selective"]["threshold"]
        predictor, held = predictors[0], self.measured[0].parts.held_out
        pictures = self.material.pictures(held)
        every = self.material.pictures(np.concatenate([trial.parts.held_out for trial in self.measured]))
        report: dict[str, Any] = {
            "schema_version": evaluation.SCHEMA_VERSION,
            "task": self.task.name,
            "version": self.version,
            "data": {
                "images": len(self.material.data),
                "duplicates_removed": self.material.duplicates,
                "near_duplicate_groups": near_duplicate_groups(self.material.data.groups),
                "near_duplicate_distance": duplicates.NEAR,
                "sha256": self.material.data.fingerprint,
                "counts": counts(self.task, self.material.data.labels, self.trial.parts),
            },
            "protocols": [
                main,
                *self.by_source(pooled, threshold, draws),
                *self.embargo(manifest, threshold, draws),
                *self.otherwise_split(manifest, threshold, draws),
                *self.external(manifest, threshold, draws),
            ],
            "refusal": {
                "false_refusals": stress.false_refusals(every, self.thresholds),
                **stress.refusals_of_spoilt(pictures, self.thresholds),
            },
            "robustness": stress.robustness_of(predictor, pictures, parts[0], probes),
            "cost": {
                "parameters": sum(v.numel() for key, v in self.trial.state.average.items() if "running" not in key),
                "images_per_second": round(len(every) / seconds, 1),
                "backend": predictor.backend,
                "threads": torch.get_num_threads(),
            },
        }
        calibrated = calibration.softmax(pooled.logits, main["calibration"]["temperature"])
        limit = calibration.conformal_threshold(pooled.labels, calibrated, pooled.groups, MISS)
        found: dict[str, Any] = {"conformal": ConformalInfo(miss=MISS, threshold=round(limit, 6))}
        if self.task.input == "field":
            near = np.concatenate(distances)
            report["shortcuts"] = shortcuts(self.material.root, main)
            report["out_of_distribution"] = strangers(predictor, distances[0], pictures, self.material.root.parent)
            report["heat_map_deletion"] = explain.deletion_test(predictor, pictures[:: max(1, len(pictures) // 60)])
            found["familiarity"] = familiar(near, main["images"])
        return report, found

    def main_name(self) -> str:
        if self.folds:
            return "cross-validation"
        return {
            "contiguous": "contiguous-block",
            "grouped": "held-out-groups",
            "named": "held-out-patients",
        }.get(self.settings.protocol, self.settings.protocol)

    def by_source(self, pooled: evaluation.Answers, threshold: float, draws: int) -> list[dict[str, Any]]:
        """The same answers, data set by data set, where there are several."""
        of = np.array([name.partition("/")[0] for name in pooled.names])
        names = sorted(set(of)) if self.task.input == "single_cell" else []
        return [
            evaluation.evaluate(
                pooled.part(np.flatnonzero(of == name)),
                name=f"held-out-{name}",
                protocol=f"Of the held-out pictures, those of {name}.",
                threshold=threshold,
                draws=draws,
            )
            for name in names
            if len(names) > 1
        ]

    def embargo(self, manifest: Manifest, threshold: float, draws: int) -> list[dict[str, Any]]:
        """The pictures between the two sides: never trained on, never looked at, but near what was trained on."""
        positions = self.trial.parts.dropped
        if self.folds or len(positions) == 0:
            return []
        logits = self.trial.predictor(manifest).logits(self.material.pictures(positions))
        return [
            evaluation.evaluate(
                self.material.answers(logits, positions),
                name="embargo-zone",
                protocol="The pictures left out between training and held-out block, near duplicates among them.",
                threshold=threshold,
                draws=draws,
            )
        ]

    def otherwise_split(self, manifest: Manifest, threshold: float, draws: int) -> list[dict[str, Any]]:
        """Runs of the same recipe that held out something else: random pictures, as most studies do, or a source."""
        rows = []
        for trial in self.beside:
            positions = trial.parts.held_out
            logits = trial.predictor(manifest).logits(self.material.pictures(positions))
            rows.append(
                evaluation.evaluate(
                    self.material.answers(logits, positions),
                    name=split_name(trial.settings),
                    protocol=f"{protocol_sentence(trial.settings)} {OF_ITS_OWN}",
                    threshold=threshold,
                    draws=draws,
                )
            )
        return rows

    def external(self, manifest: Manifest, threshold: float, draws: int) -> list[dict[str, Any]]:
        """Data sets of other laboratories that lie beside the training data."""
        rows = []
        for foreign in external.SETS:
            if foreign.input != self.task.input or foreign.name in self.material.sources():
                continue
            found = external.answers(self.trial.predictor(manifest), self.material.root, foreign)
            if found is not None:
                name = f"external-{foreign.name}"
                rows.append(
                    evaluation.evaluate(found, name=name, protocol=foreign.sentence, threshold=threshold, draws=draws)
                )
        return rows

    def conclusions(self, report: dict[str, Any]) -> dict[str, Any]:
        """The manifest's measured fields, taken from the report as they stand there."""
        main = report["protocols"][0]
        return {
            "temperature": main["calibration"]["temperature"],
            "abstention_threshold": main["selective"]["threshold"],
            "refusal": self.refusal(
                report["refusal"]["false_refusals"], f"{main['images']} held-out pictures of the same sources"
            ),
            "metrics": [metrics_of(protocol) for protocol in report["protocols"]],
        }


def strangers(
    predictor: Predictor, near: np.ndarray, pictures: list[np.ndarray], neighbours: Path
) -> dict[str, dict[str, float]]:
    """How well the familiarity of held-out pictures is told from that of pictures from elsewhere."""
    return {
        name: familiarity.told_apart(near, predictor.distances(predictor.outputs(made)))
        for name, made in stress.outsiders(pictures, neighbours).items()
    }


def shortcuts(root: Path, main: dict[str, Any]) -> dict[str, Any]:
    """What numbers that say nothing about cells would score, beside the model's own balanced accuracy."""
    rows = {name: {k: v for k, v in row.items() if not k.startswith("flagged")} for name, row in probes(root).items()}
    value = main["overall"]["balanced_accuracy"]["value"]
    return {"the model": {"preprocessed": value, "chance": 1 / len(main["classes"])}, **rows}


def probes(root: Path) -> dict[str, dict[str, float | bool]]:
    return audit.probes(audit.read(root))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.release", description="Make a release of a training run.")
    parser.add_argument(
        "--run",
        required=True,
        type=Path,
        help="folder ml.train wrote to, or a release to measure anew with the same weights",
    )
    parser.add_argument("--data", required=True, type=Path, help="the folder it was trained on")
    parser.add_argument(
        "--earlier", type=Path, nargs="*", default=[], help="folders of the runs it builds on, in order"
    )
    parser.add_argument(
        "--folds", type=Path, nargs="*", default=[], help="folders of runs of its recipe, each with a block held out"
    )
    parser.add_argument(
        "--beside",
        type=Path,
        nargs="*",
        default=[],
        help="folders of runs of its recipe that were split otherwise: at random, or with a source left out",
    )
    parser.add_argument("--second-opinion", type=Path, help="released single-cell model to ask about foreign pictures")
    parser.add_argument("--version", required=True, help="major.minor.patch")
    parser.add_argument("--out", type=Path, default=ROOT, help="root of the released weights")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws for the intervals")
    parser.add_argument("--probes", type=int, default=120, help="pictures for each robustness test (0: none)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        release = Release(
            options.run,
            options.data,
            options.version,
            options.out,
            earlier=options.earlier,
            folds=options.folds,
            beside=options.beside,
            second_opinion=options.second_opinion,
        )
        made = release.build(options.draws, options.probes)
    except (
        ReleaseError,
        TrialError,
        checkpoint.CheckpointError,
        datasets.DataError,
        ManifestError,
        WeightsError,
    ) as error:
        print(f"ml.release: {error}", file=sys.stderr)
        return 2
    print(json.dumps(made.metrics[0].values, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
