"""What a released model says about itself: `manifest.json` beside its weights.

The portal, the worker and the dashboards know no class names: they read them here. Importing this module loads
neither torch nor any imaging library.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Version = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]


class ManifestError(ValueError):
    """The manifest is missing or not as the schema wants it; the message names file and field."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ClassInfo(Strict):
    """One class; `malignant` says whether it counts as leukaemia, `colour` is safe for colour-blind readers."""

    code: Name
    title: Text
    description: Text
    malignant: bool
    colour: Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$")]


class StepInfo(Strict):
    """One preprocessing step, in order of application."""

    name: Name
    version: Annotated[int, Field(ge=1)]
    enabled: bool
    parameters: dict[str, Any]


class WeightsInfo(Strict):
    """The weights file, a bare name in the manifest's own folder."""

    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+\.safetensors$")]
    sha256: Sha256
    bytes: Annotated[int, Field(gt=0, le=50_000_000)]


class RefusalInfo(Strict):
    """Limits of `ml.quality` by name, and how often they refuse usable held-out smears (0..1)."""

    version: Annotated[int, Field(ge=1)]
    thresholds: dict[Name, float]
    false_refusals: Share
    measured_on: Text


class ConformalInfo(Strict):
    """A class is in the prediction set from this probability on; sets miss the truth `miss` (0..1) of the time."""

    miss: Share
    threshold: Share


class FamiliarityInfo(Strict):
    """Pictures farther than `threshold` (see `ml.familiarity`) are unlike the training data; `false_alarms` (0..1) of
    held-out pictures of the training data's own sources are, too."""

    threshold: Annotated[float, Field(gt=0.0)]
    false_alarms: Share
    measured_on: Text


class SecondOpinionInfo(Strict):
    """The released single-cell model that is asked about pictures unlike the training data (see `ml.opinion`)."""

    task: Name
    version: Version
    weights_sha256: Sha256


class SourceInfo(Strict):
    """One data set that went in."""

    name: Name
    role: Literal["training", "pretraining"]
    reference: Text
    terms: Text
    images: Count
    sha256: Sha256


class DataInfo(Strict):
    """What was trained on and how it was divided; `counts` are images per class code and part."""

    sources: list[SourceInfo]
    split: Text
    counts: dict[str, dict[str, Count]]


class Metrics(Strict):
    """Figures as measured under one protocol."""

    name: Name
    protocol: Text
    images: Count
    values: dict[str, float | None]


class Manifest(Strict):
    """A released model. Read with `Manifest.read(directory)`; unknown and missing fields are errors.

    `microns_per_pixel` is the scale of the prepared picture (after the resize step) the model was trained at; it may
    be left out where it is not known. `experimental`: it serves only on a recorded waiver. Logits are divided by
    `temperature`, then `class_bias` is added, a number for each class in their order (see `ml.calibration`).
    """

    schema_version: Literal[1]
    task: Name
    version: Version
    title: Text
    experimental: bool = False
    input: Literal["field", "single_cell"]
    architecture: Name
    classes: Annotated[list[ClassInfo], Field(min_length=2)]
    preprocessing: Annotated[list[StepInfo], Field(min_length=1)]
    microns_per_pixel: Annotated[float, Field(gt=0.0)] | None = None
    weights: WeightsInfo
    temperature: Annotated[float, Field(gt=0.0)]
    class_bias: list[float] | None = None
    abstention_threshold: Share
    conformal: ConformalInfo | None = None
    familiarity: FamiliarityInfo | None = None
    second_opinion: SecondOpinionInfo | None = None
    cell_classes: list[ClassInfo] | None = None
    refusal: RefusalInfo
    data: DataInfo
    training: dict[str, Any]
    metrics: list[Metrics]
    intended_use: Text
    limitations: list[Text]
    caveats: list[Text]
    licence: Text

    @model_validator(mode="after")
    def class_codes_are_unique(self) -> Manifest:
        if len(set(self.codes)) != len(self.classes):
            raise ValueError("class codes must be unique")
        return self

    @model_validator(mode="after")
    def every_class_has_a_bias(self) -> Manifest:
        if self.class_bias is not None and len(self.class_bias) != len(self.classes):
            raise ValueError(f"class_bias has {len(self.class_bias)} numbers for {len(self.classes)} classes")
        return self

    @property
    def codes(self) -> tuple[str, ...]:
        """Class codes in the order of the network's outputs."""
        return tuple(item.code for item in self.classes)

    @property
    def model(self) -> str:
        """How a prediction names its model: `task/version`."""
        return f"{self.task}/{self.version}"

    @classmethod
    def read(cls, directory: Path | str) -> Manifest:
        """Load `manifest.json` of a released directory; raises ManifestError with the field that is wrong."""
        path = Path(directory) / FILE_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ManifestError(f"no readable manifest at {path}: {error.strerror}") from error
        try:
            return cls.model_validate(json.loads(text))
        except json.JSONDecodeError as error:
            raise ManifestError(f"{path} is not JSON: {error}") from error
        except ValidationError as error:
            raise ManifestError(f"{path} is not a valid manifest: {explain(error)}") from error

    def write(self, directory: Path) -> None:
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (directory / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def explain(error: ValidationError) -> str:
    """The first few problems as `field: what is wrong`."""
    problems = [
        f"{'.'.join(str(part) for part in item['loc']) or 'manifest'}: {item['msg']}" for item in error.errors()
    ]
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


def version_key(version: str) -> tuple[int, ...]:
    """Order `major.minor.patch` by number: 1.10.0 after 1.9.0."""
    return tuple(int(part) for part in version.split("."))


def released(root: Path, task: str) -> list[Path]:
    """Directories `root/task/<version>` that hold a manifest, oldest version first."""
    if PurePosixPath(task).name != task:
        raise ManifestError(f"{task!r} is not the name of a task")
    found = [path.parent for path in (root / task).glob(f"*/{FILE_NAME}") if is_version(path.parent.name)]
    return sorted(found, key=lambda path: version_key(path.name))


def is_version(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 3 and all(part.isdigit() for part in parts)


def newest(root: Path, task: str) -> Path:
    """The released directory with the highest version; raises ManifestError when there is none."""
    found = released(root, task)
    if not found:
        raise ManifestError(f"no released model for {task!r} in {root}")
    return found[-1]
