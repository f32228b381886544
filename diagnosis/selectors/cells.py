"""Cells as their readers see them: the differential count, and marks that tell the classes apart without colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnosis.models import CasePrediction, ModelVersion, PredictionRun, SmearImage
from diagnosis.selectors.predictions import percent_range
from diagnosis.states import ImageKind, RunState


@dataclass(frozen=True)
class CellCount:
    """A line of the differential; without a share for what stands beside it."""

    title: str
    colour: str
    mark: str
    count: int
    share: Mapping[str, float] | None = None

    @property
    def percent(self) -> int | None:
        return round(self.share["share"] * 100) if self.share else None

    @property
    def interval(self) -> str:
        return percent_range(self.share["low"], self.share["high"]) if self.share else ""


@dataclass(frozen=True)
class CellGroup:
    """Several classes together, named: blasts, or all that the model calls malignant."""

    titles: tuple[str, ...]
    count: int
    percent: int
    interval: str


@dataclass(frozen=True)
class Differential:
    """`cells` is what the shares are of; `beside` was seen and is not among them."""

    cells: int
    lines: tuple[CellCount, ...]  # most frequent first
    beside: tuple[CellCount, ...]
    blasts: CellGroup | None
    malignant: CellGroup | None  # only where it counts more classes than the blasts
    images: int | None = None  # how many fields the cells are from, where that is known

    @property
    def groups(self) -> list[CellGroup]:
        return [group for group in (self.blasts, self.malignant) if group]

    @property
    def seen(self) -> int:
        return self.cells + sum(line.count for line in self.beside)


def cell_classes(model_version: ModelVersion) -> list[dict[str, Any]]:
    """What cells are told apart into: the task's own classes where an image is one cell."""
    if model_version.input_kind == ImageKind.SINGLE_CELL:
        return model_version.classes
    return model_version.manifest.get("cell_classes") or []


def cell_marks(classes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Each class's shortest beginning of its title that no class before it has: B, P, O, ..., Ba, Pl, Er."""
    marks: dict[str, str] = {}
    for entry in classes:
        letters = [letter for letter in entry["title"] if letter.isalnum()]
        tries = ["".join(letters[:length]) for length in range(1, len(letters) + 1)]
        marks[entry["code"]] = next((mark for mark in tries if mark not in marks.values()), str(len(marks) + 1))
    return marks


def stored_differential(row: CasePrediction, model_version: ModelVersion) -> Differential | None:
    """The differential of a case, or None where no cell was looked at."""
    said, classes = row.differential, cell_classes(model_version)
    if not said or not classes:
        return None
    marks = cell_marks(classes)
    known = {entry["code"]: entry for entry in classes}

    def line(code: str, count: int, share: Mapping[str, float] | None = None) -> CellCount:
        return CellCount(known[code]["title"], known[code]["colour"], marks[code], count, share)

    shares = [(code, share) for code, share in said["classes"].items() if code in known and share["count"]]
    shares.sort(key=lambda entry: -entry[1]["count"])
    blasts, malignant = (_group(said[name], known) for name in ("blasts", "malignant"))
    differential = Differential(
        cells=said["cells"],
        lines=tuple(line(code, share["count"], share) for code, share in shares),
        beside=tuple(line(code, count) for code, count in said["beside"].items() if code in known),
        blasts=blasts,
        malignant=malignant if malignant and malignant != blasts else None,
        images=said.get("images"),
    )
    return differential if differential.seen else None


def _group(said: Mapping[str, Any] | None, known: Mapping[str, Mapping[str, Any]]) -> CellGroup | None:
    if not said:
        return None
    share = said["share"]
    return CellGroup(
        titles=tuple(known[code]["title"] for code in said["codes"] if code in known),
        count=share["count"],
        percent=round(share["share"] * 100),
        interval=percent_range(share["low"], share["high"]),
    )


def image_cells(image: SmearImage, model_version: ModelVersion | None) -> list[dict[str, Any]]:
    """The cells found in an image, each with its box in pixels, its class in words, and how it is marked."""
    if model_version is None:
        return []
    runs = PredictionRun.objects.of_cases().filter(image=image, model_version=model_version)
    cells = runs.filter(state=RunState.SUCCEEDED).values_list("cells", flat=True).first() or []
    classes = cell_classes(model_version)
    marks, known = cell_marks(classes), {entry["code"]: entry for entry in classes}
    return [
        {
            "box": cell["box"],
            "title": f"{known[cell['label']]['title']}, {round(cell['probability'] * 100)} %",
            "mark": marks[cell["label"]],
            "colour": known[cell["label"]]["colour"],
        }
        for cell in cells
        if cell["label"] in known
    ]
