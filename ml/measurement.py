"""Everything that is measured of a release, through the very Predictor that will serve it: its report.json."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import calibration, duplicates, evaluation, external, shipped
from ml.calibration import Calibration
from ml.describe import OF_ITS_OWN, familiar, near_duplicate_groups, protocol_sentence, split_name
from ml.evaluation import Answers
from ml.manifest import ConformalInfo, Manifest
from ml.predictor import Prediction, Predictor
from ml.scrutiny import Looked, scrutinised
from ml.trial import Material, Trial

MISS = 0.05
RISK = 0.005
LEAST_COVERAGE = 0.8
MAIN = {"contiguous": "contiguous-block", "grouped": "held-out-groups", "named": "held-out-patients"}


@dataclass(frozen=True)
class Measured:
    """The report, what the manifest takes from the same answers besides, and the networks that gave them."""

    report: dict[str, Any]
    found: dict[str, Any]
    predictors: Sequence[Predictor]


@dataclass(frozen=True)
class Measurement:
    """A release to be measured: its run behind its unfinished manifest, and the runs that say what its recipe can do.

    `folds` are runs that held out one part each, where the run itself held out nothing; `beside` are runs that were
    split otherwise. `draws` is how often the bootstrap draws.
    """

    manifest: Manifest
    trial: Trial
    folds: Sequence[Trial]
    beside: Sequence[Trial]
    material: Material
    draws: int

    @property
    def measured(self) -> Sequence[Trial]:
        """The runs whose held-out answers the figures come from."""
        return self.folds or [self.trial]

    @property
    def of_fields(self) -> bool:
        return self.manifest.input == "field"

    def run(self, probes: int) -> Measured:
        """Measure everything; `probes` is how many pictures each test of robustness takes."""
        classes = len(self.manifest.classes)
        began, parts, distances = time.perf_counter(), [], []
        predictors = [trial.predictor(self.manifest) for trial in self.measured]
        outputs = [
            predictor.outputs(self.material.pictures(trial.parts.held_out))
            for trial, predictor in zip(self.measured, predictors, strict=True)
        ]
        seconds = time.perf_counter() - began
        for trial, predictor, given in zip(self.measured, predictors, outputs, strict=True):
            parts.append(self.material.answers(given[:, :classes], trial.parts.held_out))
            predictor.familiarity = trial.learned(predictor) if self.of_fields else None
            distances.append(predictor.distances(given))
        pooled = evaluation.pooled(parts)
        main = evaluation.evaluate(
            pooled,
            name=self.main_name,
            protocol=self.manifest.data.split,
            threshold=None,
            draws=self.draws,
            risk=RISK,
            least_coverage=LEAST_COVERAGE,
            parts=np.repeat(np.arange(len(parts)), [len(part.labels) for part in parts]) if self.folds else None,
        )
        fitted = Calibration(main["calibration"]["temperature"], tuple(main["calibration"]["bias"]))
        calibrated = self.manifest.model_copy(
            update={"temperature": fitted.temperature, "class_bias": list(fitted.bias) or None}
        )
        threshold = main["selective"]["threshold"]
        predictors[0].manifest = calibrated
        pictures = self.material.pictures(self.measured[0].parts.held_out)
        looked = Looked(predictors[0], pictures, parts[0], distances[0], len(pooled.labels) / seconds)
        every = self.material.pictures(np.concatenate([trial.parts.held_out for trial in self.measured]))
        others = (
            self.evaluated(answers, name, sentence, threshold)
            for answers, name, sentence in self.others(pooled, calibrated)
        )
        report: dict[str, Any] = {
            "schema_version": evaluation.SCHEMA_VERSION,
            "task": self.manifest.task,
            "version": self.manifest.version,
            "data": {
                "images": len(self.material.data),
                "duplicates_removed": self.material.duplicates,
                "near_duplicate_groups": near_duplicate_groups(self.material.data.groups),
                "near_duplicate_distance": duplicates.NEAR,
                "sha256": self.material.data.fingerprint,
                "counts": self.manifest.data.counts,
            },
            "protocols": [main, *others],
            **scrutinised(looked, every, main, self.material.root, probes),
        }
        limit = calibration.conformal_threshold(pooled.labels, fitted(pooled.logits), pooled.groups, MISS)
        found: dict[str, Any] = {"conformal": ConformalInfo(miss=MISS, threshold=round(limit, 6))}
        if self.of_fields:
            found["familiarity"] = familiar(np.concatenate(distances), main["images"])
        return Measured(report, found, predictors)

    @property
    def main_name(self) -> str:
        protocol = self.trial.settings.protocol
        return "cross-validation" if self.folds else MAIN.get(protocol, protocol)

    def evaluated(self, answers: Answers, name: str, protocol: str, threshold: float) -> dict[str, Any]:
        return evaluation.evaluate(answers, name=name, protocol=protocol, threshold=threshold, draws=self.draws)

    def others(self, pooled: Answers, calibrated: Manifest) -> list[tuple[Answers, str, str]]:
        """The answers under every other protocol, with its name and the sentence that says which pictures count.

        Networks that were split otherwise are not those that the calibration is for: theirs are plain.
        """
        return [*self.by_source(pooled), *self.embargo(), *self.otherwise_split(), *self.external(calibrated)]

    def by_source(self, pooled: Answers) -> list[tuple[Answers, str, str]]:
        """The same answers, data set by data set, where there are several."""
        of = np.array([name.partition("/")[0] for name in pooled.names])
        names = [] if self.of_fields else sorted(set(of))
        return [
            (
                pooled.part(np.flatnonzero(of == name)),
                f"held-out-{name}",
                f"Of the held-out pictures, those of {name}.",
            )
            for name in names
            if len(names) > 1
        ]

    def embargo(self) -> list[tuple[Answers, str, str]]:
        """The pictures between the two sides: never trained on, never looked at, but near what was trained on."""
        positions = self.trial.parts.dropped
        if self.folds or len(positions) == 0:
            return []
        sentence = "The pictures left out between training and held-out block, near duplicates among them."
        return [(self.answers(self.trial, positions), "embargo-zone", sentence)]

    def otherwise_split(self) -> list[tuple[Answers, str, str]]:
        """Runs of the same recipe that held out something else: random pictures, as most studies do, or a source."""
        return [
            (
                self.answers(trial, trial.parts.held_out),
                split_name(trial.settings),
                f"{protocol_sentence(trial.settings)} {OF_ITS_OWN}",
            )
            for trial in self.beside
        ]

    def external(self, calibrated: Manifest) -> list[tuple[Answers, str, str]]:
        """Data sets of other laboratories that lie beside the training data."""
        found = (
            (external.answers(self.trial.predictor(calibrated), self.material.root, foreign), foreign)
            for foreign in external.SETS
            if foreign.input == self.manifest.input and foreign.name not in self.material.sources()
        )
        return [(answers, f"external-{foreign.name}", foreign.sentence) for answers, foreign in found if answers]

    def as_shipped(self, done: Measured, final: Manifest, other: Predictor | None) -> dict[str, Any]:
        """The protocol of what a laboratory would see: every network's held-out pictures answered by `final`'s rules,
        `other` giving second opinions."""
        said: list[Prediction] = []
        asked: list[Answers] = []
        for trial, predictor in zip(self.measured, done.predictors, strict=True):
            predictor.manifest, predictor.second_opinion = final, other
            held = trial.parts.held_out
            said += shipped.answers_of(predictor, self.material.pictures(held))
            asked.append(self.material.answers(np.zeros((len(held), 1)), held))
        pooled = evaluation.pooled(asked)
        sentence = (
            f"{self.manifest.data.split} {shipped.SENTENCE.capitalize()}. Calibration and thresholds are those of the "
            "release, fitted to all of these pictures."
        )
        report = self.evaluated(shipped.measured(said, pooled), "as-shipped", sentence, final.abstention_threshold)
        return report | {"shipped": shipped.given(said, pooled.labels, final.codes)}

    def answers(self, trial: Trial, positions: np.ndarray) -> Answers:
        logits = trial.predictor(self.manifest).logits(self.material.pictures(positions))
        return self.material.answers(logits, positions)
