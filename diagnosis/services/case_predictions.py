"""What the predictions of a case say together. The numbers are the worker's: this room has no say in them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Now

from diagnosis.models import Case, CasePrediction, ModelVersion


@dataclass(frozen=True)
class Pooled:
    """The columns of a CasePrediction; see there."""

    model_version: ModelVersion
    image_count: int
    answered_count: int
    abstained_count: int
    label: str = ""
    probabilities: dict[str, float] | None = None
    intervals: dict[str, list[float]] | None = None
    differential: dict[str, Any] | None = None


Pool = Callable[[Case], Iterable[Pooled]]
"""Puts the predictions of a case together, for each model version that looked at it."""


def case_predictions_store(*, case: Case, pooled: Iterable[Pooled]) -> None:
    """Keep what holds now in the place of what was said before. Must be called with the case locked."""
    for entry in pooled:
        CasePrediction.objects.update_or_create(
            case=case,
            model_version=entry.model_version,
            defaults={
                "image_count": entry.image_count,
                "answered_count": entry.answered_count,
                "abstained_count": entry.abstained_count,
                "label": entry.label,
                "probabilities": entry.probabilities,
                "intervals": entry.intervals,
                "differential": entry.differential,
                "computed_at": Now(),
            },
        )


def case_predictions_forget(*, case: Case) -> None:
    """Its images may be others now."""
    CasePrediction.objects.filter(case=case).delete()
