"""What the predictions of a case say, taken together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnosis.models import Case, ModelVersion, PredictionRun
from diagnosis.states import ModelStatus, RunState


@dataclass(frozen=True)
class ClassProbability:
    code: str
    title: str
    colour: str
    probability: float

    @property
    def percent(self) -> int:
        return round(self.probability * 100)


@dataclass(frozen=True)
class Suggestion:
    """The morphological suggestion of one model for one image or, pooled, for a case."""

    model_version: ModelVersion
    label: str
    probabilities: tuple[ClassProbability, ...]  # most probable first
    uncertain: bool
    image_count: int

    @property
    def confidence(self) -> float:
        return self.probabilities[0].probability

    @property
    def percent(self) -> int:
        return self.probabilities[0].percent

    @property
    def title(self) -> str:
        return self.probabilities[0].title

    @property
    def malignant(self) -> bool:
        return any(entry["code"] == self.label and entry["malignant"] for entry in self.model_version.classes)


def case_model_version(case: Case) -> ModelVersion | None:
    """The model whose class set the case is read in: the one that looked at it last, else the active one."""
    last_run = (
        PredictionRun.objects.of_cases()
        .filter(image__case=case, image__withdrawn_at__isnull=True)
        .exclude(state=RunState.CANCELLED)
        .select_related("model_version")
        .order_by("-queued_at", "model_version__task")
        .first()
    )
    if last_run is not None:
        return last_run.model_version
    return ModelVersion.objects.filter(status=ModelStatus.ACTIVE, input_kind=case.image_kind).first()


def class_probabilities(
    model_version: ModelVersion, probabilities: Mapping[str, float]
) -> tuple[ClassProbability, ...]:
    entries = [
        ClassProbability(entry["code"], entry["title"], entry["colour"], float(probabilities.get(entry["code"], 0)))
        for entry in model_version.classes
    ]
    return tuple(sorted(entries, key=lambda entry: -entry.probability))


def run_suggestion(run: PredictionRun, model_version: ModelVersion) -> Suggestion | None:
    if run.state != RunState.SUCCEEDED or run.probabilities is None:
        return None
    return Suggestion(
        model_version=model_version,
        label=run.label,
        probabilities=class_probabilities(model_version, run.probabilities),
        uncertain=run.abstained,
        image_count=1,
    )


def case_suggestion(case: Case, model_version: ModelVersion | None = None) -> Suggestion | None:
    """The mean of the calibrated probabilities over the images that were predicted, or None where none was.

    Uncertain when the pooled confidence is below the model's own threshold, or when most images were.
    """
    model_version = model_version or case_model_version(case)
    if model_version is None:
        return None
    runs = (
        PredictionRun.objects.of_cases()
        .filter(
            image__case=case,
            image__withdrawn_at__isnull=True,
            model_version=model_version,
            state=RunState.SUCCEEDED,
        )
        .values("probabilities", "abstained")
    )
    return pooled_suggestion(model_version, list(runs))


def pooled_suggestion(model_version: ModelVersion, runs: Sequence[Mapping[str, Any]]) -> Suggestion | None:
    if not runs:
        return None
    codes = [entry["code"] for entry in model_version.classes]
    means = {code: sum(run["probabilities"].get(code, 0.0) for run in runs) / len(runs) for code in codes}
    probabilities = class_probabilities(model_version, means)
    threshold = model_version.manifest.get("abstention_threshold") or 0.0
    mostly_abstained = sum(run["abstained"] for run in runs) * 2 > len(runs)
    return Suggestion(
        model_version=model_version,
        label=probabilities[0].code,
        probabilities=probabilities,
        uncertain=mostly_abstained or probabilities[0].probability < threshold,
        image_count=len(runs),
    )
