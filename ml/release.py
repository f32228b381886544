"""`python -m ml.release --run DIR --data DIR --version X.Y.Z`: from training runs to a released directory.

Writes weights (fp16 safetensors), has them measured (`ml.measurement`), and puts what was measured into manifest.json
and report.json. What is released is the averaged network of the run's last epoch.

A run that learned from everything has nothing left to be measured on: then `--folds` names runs of the same recipe
that held out one contiguous block each, whose answers are pooled, and temperature, thresholds and figures are theirs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_safetensors
from torch import Tensor

from ml import checkpoint, config, quality, scale, sources
from ml import data as datasets
from ml.describe import (
    THRESHOLDS,
    ReleaseError,
    class_infos,
    counts,
    facts_of_plan,
    folds_sentence,
    metrics_of,
    opinion_of,
    protocol_sentence,
    source_infos,
    sources_of,
    step_infos,
)
from ml.manifest import DataInfo, Manifest, ManifestError, RefusalInfo, SourceInfo, WeightsInfo
from ml.measurement import Measurement
from ml.model import ARCHITECTURE
from ml.predictor import Predictor, WeightsError
from ml.trial import Material, Trial, TrialError, half

ROOT = Path(__file__).parent / "weights"
WEIGHTS_FILE = "model.safetensors"


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
        self.second_opinion = second_opinion
        self.other = Manifest.read(second_opinion) if second_opinion else None
        self.thresholds = THRESHOLDS[self.task.input]
        self.directory = out / self.task.name / version

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
        every = [source for trial in self.earlier for source in sources_of(trial)]
        found = {source.name: source.model_copy(update={"role": "pretraining"}) for source in every}
        return list(found.values())

    def earlier_stages(self) -> list[dict[str, Any]]:
        """The runs this one builds on, in order, with the epochs they really ran."""
        if self.trial.before:
            stages: list[dict[str, Any]] = self.trial.before.training["earlier_stages"]
            return stages
        return [stage for trial in self.earlier for stage in trial.stages()]

    def curves(self) -> list[dict[str, float]]:
        """Epochs of every stage for this task in one row, numbered through; `stage` counts from 1."""
        if self.trial.before:
            return self.trial.curves()
        rows: list[dict[str, float]] = []
        for trial in [*self.earlier, self.trial]:
            before, epochs = (rows[-1]["stage"] if rows else 0), len(rows)
            if trial.task == self.task:
                rows += [
                    {**row, "stage": before + row.get("stage", 1), "epoch": epochs + index}
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
        measurement = Measurement(manifest, self.trial, self.folds, self.beside, self.material, draws)
        done = measurement.run(probes)
        report, found = done.report, done.found
        if self.other:
            found |= {"second_opinion": opinion_of(self.other), "cell_classes": self.other.classes}
        final = self.manifest(manifest.weights, **found, **self.conclusions(report))
        if self.folds and self.task.input == "field":
            other = Predictor.load(self.second_opinion) if self.second_opinion else None
            report["protocols"].append(measurement.as_shipped(done, final, other))
            final = self.manifest(manifest.weights, **found, **self.conclusions(report))
        final.write(self.directory)
        (self.directory / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        (self.directory / "curves.json").write_text(json.dumps(self.curves(), indent=1) + "\n")
        return final

    def conclusions(self, report: dict[str, Any]) -> dict[str, Any]:
        """The manifest's measured fields, taken from the report as they stand there."""
        main = report["protocols"][0]
        return {
            "temperature": main["calibration"]["temperature"],
            "class_bias": main["calibration"]["bias"] or None,
            "abstention_threshold": main["selective"]["threshold"],
            "refusal": self.refusal(
                report["refusal"]["false_refusals"], f"{main['images']} held-out pictures of the same sources"
            ),
            "metrics": [metrics_of(protocol) for protocol in report["protocols"]],
        }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.release", description="Make a release of a training run.")
    parser.add_argument(
        "--run",
        required=True,
        type=Path,
        help="folder ml.train wrote to, or a release to measure anew with the same weights",
    )
    parser.add_argument("--data", required=True, type=Path, help="the folder it was trained on")
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], help="runs or releases it builds on, in order")
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
