"""What the predictions of a case say, taken together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models as sql

from diagnosis.models import Case, CasePrediction, ModelVersion, PredictionRun
from diagnosis.states import ImageKind, ModelStatus, RunState


@dataclass(frozen=True)
class ClassProbability:
    code: str
    title: str
    colour: str
    probability: float
    low: float | None = None
    high: float | None = None

    @property
    def percent(self) -> int:
        return round(self.probability * 100)

    @property
    def interval(self) -> str:
        """The 95 % interval in words, where there is one."""
        return percent_range(self.low, self.high)


def percent_range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{round(low * 100)}–{round(high * 100)} %"


@dataclass(frozen=True)
class Suggestion:
    """The morphological suggestion of one model for one image or, pooled over `image_count` of `image_total`, for a
    case."""

    model_version: ModelVersion
    label: str
    probabilities: tuple[ClassProbability, ...]  # most probable first
    uncertain: bool
    image_count: int = 1
    image_total: int = 1

    @property
    def confidence(self) -> float:
        return self.probabilities[0].probability

    @property
    def percent(self) -> int:
        return self.probabilities[0].percent

    @property
    def interval(self) -> str:
        return self.probabilities[0].interval

    @property
    def title(self) -> str:
        return self.probabilities[0].title

    @property
    def malignant(self) -> bool:
        return any(entry["code"] == self.label and entry["malignant"] for entry in self.model_version.classes)


def case_model_version(case: Case) -> ModelVersion | None:
    """The model whose class set the case is read in: the one that looked at it last, else the active one.

    An experimental one only where no other did: it may look too, but takes no case out of the readers' classes.
    """
    last_run = (
        PredictionRun.objects.of_cases()
        .filter(image__case=case, image__withdrawn_at__isnull=True)
        .exclude(state=RunState.CANCELLED)
        .select_related("model_version")
        .order_by(_experimental("model_version__"), "-queued_at", "model_version__task")
        .first()
    )
    if last_run is not None:
        return last_run.model_version
    active = ModelVersion.objects.filter(status=ModelStatus.ACTIVE, input_kind=case.image_kind)
    return active.order_by(_experimental(), "task").first()


def _experimental(path: str = "") -> sql.Case:
    """1 for an experimental model version, 0 for others, those whose manifest does not say among them."""
    return sql.Case(sql.When(**{f"{path}manifest__experimental": True}, then=1), default=0)


def class_probabilities(
    model_version: ModelVersion,
    probabilities: Mapping[str, float],
    intervals: Mapping[str, Sequence[float]] | None = None,
) -> tuple[ClassProbability, ...]:
    entries = [
        ClassProbability(
            entry["code"],
            entry["title"],
            entry["colour"],
            float(probabilities.get(entry["code"], 0)),
            *(intervals or {}).get(entry["code"], ()),
        )
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
    )


def case_prediction(case: Case, model_version: ModelVersion | None = None) -> CasePrediction | None:
    """What the worker put together of this model's predictions, if it has."""
    model_version = model_version or case_model_version(case)
    return CasePrediction.objects.filter(case=case, model_version=model_version).first() if model_version else None


def case_suggestion(case: Case, model_version: ModelVersion | None = None) -> Suggestion | None:
    """The model's suggestion for the case as a whole, or None where it has none."""
    model_version = model_version or case_model_version(case)
    if model_version is None:
        return None
    row = case_prediction(case, model_version)
    if row is not None:
        return stored_suggestion(row, model_version)
    runs = PredictionRun.objects.of_cases().filter(
        image__case=case, image__withdrawn_at__isnull=True, model_version=model_version
    )
    return pooled_suggestion(model_version, list(runs.values("state", "probabilities", "abstained")))


def stored_suggestion(row: CasePrediction, model_version: ModelVersion) -> Suggestion | None:
    """None where no image was given a class, and where cells are counted: a differential suggests no class."""
    if not row.label or row.probabilities is None:
        return None
    probabilities = class_probabilities(model_version, row.probabilities, row.intervals)
    return Suggestion(
        model_version=model_version,
        label=row.label,
        probabilities=probabilities,
        uncertain=_uncertain(model_version, probabilities[0].probability, row.abstained_count, row.answered_count),
        image_count=row.answered_count,
        image_total=row.image_count,
    )


def pooled_suggestion(model_version: ModelVersion, runs: Sequence[Mapping[str, Any]]) -> Suggestion | None:
    """The plain mean over the images that were predicted, for as long as no worker has put them together."""
    answered = [run for run in runs if run["state"] == RunState.SUCCEEDED]
    if not answered or model_version.input_kind != ImageKind.FIELD:
        return None
    codes = [entry["code"] for entry in model_version.classes]
    means = {code: sum(run["probabilities"].get(code, 0.0) for run in answered) / len(answered) for code in codes}
    probabilities = class_probabilities(model_version, means)
    abstained = sum(run["abstained"] for run in answered)
    return Suggestion(
        model_version=model_version,
        label=probabilities[0].code,
        probabilities=probabilities,
        uncertain=_uncertain(model_version, probabilities[0].probability, abstained, len(answered)),
        image_count=len(answered),
        image_total=len(runs),
    )


def _uncertain(model_version: ModelVersion, confidence: float, abstained: int, answered: int) -> bool:
    """When the pooled confidence is below the model's own threshold, or when most images were uncertain."""
    threshold = model_version.manifest.get("abstention_threshold") or 0.0
    return abstained * 2 > answered or confidence < threshold
