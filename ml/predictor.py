"""A released model, ready to answer: verified weights, the manifest's own preprocessing, refusal and abstention.

The one way from pictures to predictions, for the worker and the command line alike.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from ml import calibration, cell_typing, devices, familiarity, model, opinion, preprocessing, quality, reference, scale
from ml.cells import FoundCell
from ml.familiarity import Familiarity
from ml.manifest import Manifest

logger = logging.getLogger(__name__)

BATCH = 16
PARITY = 0.02
Made = TypeVar("Made")


class WeightsError(RuntimeError):
    """The weights are missing, altered, or of another network; the message says which."""


@dataclass(frozen=True)
class Prediction:
    """One picture's answer; a morphological suggestion, never a diagnosis.

    `probabilities` are calibrated, 0..1 by class code, and sum to 1; empty when refused. `confidence` is the highest
    of them (0.0 when refused). `label` is None when refused. `abstained`: a label is named but should not be relied
    on. `reasons` are codes of `ml.quality.REASONS`. `prediction_set` holds the classes that cannot be ruled out (empty
    where the model has no conformal threshold). `cells` are those that were looked at one by one, if any were.
    """

    task: str
    model: str
    label: str | None
    probabilities: dict[str, float]
    confidence: float
    refused: bool
    abstained: bool
    reasons: tuple[str, ...]
    prediction_set: tuple[str, ...] = ()
    cells: tuple[FoundCell, ...] = ()

    @property
    def explanation(self) -> str:
        """The reasons as sentences."""
        return quality.describe(self.reasons)


@dataclass(frozen=True)
class Engine:
    """How the network is run: where, and under which number format. `name` is recorded with every run.

    `network`, where given, runs in place of the predictor's own (see `ml.backends`).
    """

    name: str
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    network: Callable[[Tensor], Tensor] | None = None


class Predictor:
    """Load with `Predictor.load(directory)`; not thread-safe, keep one for each process.

    `types_every_field`: cells are looked for in every field, not only in those unlike the training data; several times
    slower.
    """

    directory: Path | None = None
    types_every_field = False

    def __init__(
        self, manifest: Manifest, net: nn.Module, engine: Engine, familiarity: Familiarity | None = None
    ) -> None:
        self.manifest = manifest
        self.familiarity = familiarity
        self.engine = engine
        self.net = net.eval().to(engine.device).to(memory_format=torch.channels_last)
        self.steps = tuple(
            preprocessing.Step(step.name, step.version, step.enabled, step.parameters)
            for step in manifest.preprocessing
        )

    @classmethod
    def load(cls, directory: Path, device: str = "auto") -> Predictor:
        """Read the manifest, check the weights' sha256, pick the fastest engine that agrees with eager fp32.

        `device`: "auto", "cpu", "cuda" or "cuda:N". Raises ManifestError or WeightsError.
        """
        manifest = Manifest.read(directory)
        state = read_weights(Path(directory), manifest)
        predictor = cls(manifest, network(manifest, state), choose_engine(device), Familiarity.of(state))
        predictor.directory = Path(directory).resolve()
        predictor.fall_back_unless_exact()
        return predictor

    def on_cpu(self) -> Predictor:
        """The same verified weights on the processor, in memory of their own where this one is elsewhere."""
        state = {name.replace("fc.head.", "fc."): value.cpu() for name, value in self.net.state_dict().items()}
        known = self.familiarity.state if self.familiarity else {}
        other = Predictor(
            self.manifest, network(self.manifest, {**state, **known}), choose_engine("cpu"), self.familiarity
        )
        other.directory, other.types_every_field = self.directory, self.types_every_field
        other.fall_back_unless_exact()
        return other

    @property
    def device(self) -> str:
        return str(self.engine.device)

    @property
    def backend(self) -> str:
        return self.engine.name

    def predict(
        self,
        images: Sequence[np.ndarray],
        batch: int = BATCH,
        microns_per_pixel: Sequence[float | None] | None = None,
    ) -> list[Prediction]:
        """One Prediction per decoded picture, uint8 RGB (H, W, 3), in the given order.

        `microns_per_pixel`: the scale of each picture, None where it is not known. A known scale is brought to the
        one the model was trained at; an unknown one is guessed, and refused when it seems far off.
        A picture's answer does not depend on what else is in the call, beyond rounding (< 0.01).
        """
        scales: Sequence[float | None] = [None] * len(images) if microns_per_pixel is None else microns_per_pixel
        refusals = side_by_side(self.objections, images, scales)
        usable = [index for index, found in enumerate(refusals) if not found]
        rows, distances = self.pooled([self.views(images[index], scales[index]) for index in usable], batch)
        answers: list[Prediction] = [self.refusal(found) for found in refusals]
        limit = self.manifest.familiarity.threshold if self.manifest.familiarity else np.inf
        for index, row, distance in zip(usable, rows, distances, strict=True):
            strange = bool(distance > limit)
            cells = self.cells(images[index], scales[index]) if strange or self.types_every_field else None
            answer = self.answer(self.turned(row, cells, distance) if strange and cells else row)
            if strange:
                answer = replace(answer, abstained=True, reasons=("unlike_training",))
            answers[index] = replace(answer, cells=tuple(cells or ()))
        return answers

    def objections(self, image: np.ndarray, known: float | None) -> tuple[str, ...]:
        """Why the picture is refused; empty when it is not. Where its scale is known, focus is judged at the trained
        one: a higher magnification is no blur."""
        trained, side = self.manifest.microns_per_pixel, self.side
        limits = self.manifest.refusal.thresholds
        if trained is None or side is None:
            return quality.reasons(quality.measure(image), limits)
        if known is not None:
            seen = quality.measure(scale.resampled(image, scale.size_at(image, known, trained)))
            return quality.reasons(replace(seen, side=float(min(image.shape[:2]))), limits)
        found = quality.reasons(quality.measure(image), limits)
        if found or self.manifest.input != "field":
            return found
        return ("wrong_scale",) if scale.is_wrong(image, trained, side) else ()

    def views(self, image: np.ndarray, known: float | None) -> list[np.ndarray]:
        """What of the picture the network is shown: the whole of it, or squares at the trained scale."""
        trained, side = self.manifest.microns_per_pixel, self.side
        if known is None or trained is None or side is None:
            return [image]
        if self.manifest.input == "field":
            return scale.views(image, known, trained, side)
        return scale.views(image, known, trained, side, most=1, mirrored=False)

    def pooled(self, pictures: Sequence[Sequence[np.ndarray]], batch: int) -> tuple[np.ndarray, np.ndarray]:
        """The means over each picture's views: probabilities (N, classes) and distances (N,).

        Probabilities and not logits: one empty square that the network is sure about cannot outvote the rest.
        """
        outputs = self.outputs([view for views in pictures for view in views], batch)
        rows, distances = self.calibrated(outputs), self.distances(outputs)
        ends = np.cumsum([0, *(len(views) for views in pictures)])
        parts = [slice(start, end) for start, end in pairwise(ends)]
        if not parts:
            return rows, distances
        return np.stack([rows[part].mean(axis=0) for part in parts]), np.array([distances[p].mean() for p in parts])

    @property
    def side(self) -> int | None:
        """Side in pixels of the square that the resize step makes; None without that step."""
        sizes = [step.parameters.get("size", 224) for step in self.steps if step.enabled and step.name == "resize"]
        return int(sizes[0]) if sizes else None

    def probabilities(self, images: Sequence[np.ndarray], batch: int = BATCH) -> np.ndarray:
        """Calibrated probabilities (N, classes), float64, of the network alone, refusing nothing."""
        return self.calibrated(self.outputs(images, batch))

    def logits(self, images: Sequence[np.ndarray], batch: int = BATCH) -> np.ndarray:
        """Logits (N, classes), float32, with the biases of the classes: over the temperature they give what
        `probabilities` gives."""
        return self.biased(self.outputs(images, batch))

    def biased(self, outputs: np.ndarray) -> np.ndarray:
        """The logits among the network's outputs (see `logits`)."""
        raw = outputs[:, : len(self.manifest.classes)]
        bias = self.manifest.class_bias
        return raw + np.float32(self.manifest.temperature) * np.array(bias, np.float32) if bias else raw

    def outputs(self, images: Sequence[np.ndarray], batch: int = BATCH) -> np.ndarray:
        """What the network gives, float32 (N, classes) or, with a familiarity, (N, classes + features)."""
        parts = [self.run(chunk) for chunk in batches(images, batch)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.manifest.classes)), np.float32)

    def calibrated(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities (N, classes) of what the network gave."""
        fitted = calibration.Calibration(self.manifest.temperature, tuple(self.manifest.class_bias or ()))
        return fitted(outputs[:, : len(self.manifest.classes)])

    def distances(self, outputs: np.ndarray) -> np.ndarray:
        """How far each picture is from those learned from (N,), see `ml.familiarity`; 0 where that is not known."""
        if self.familiarity is None or len(outputs) == 0:
            return np.zeros(len(outputs))
        return self.familiarity.distances(outputs[:, len(self.manifest.classes) :])

    def run(self, images: Sequence[np.ndarray]) -> np.ndarray:
        ready = side_by_side(lambda image: preprocessing.apply(image, self.steps), images)
        return forward(self.net, torch.from_numpy(np.stack(ready)), self.engine)

    def cells(self, image: np.ndarray, known: float | None) -> list[FoundCell] | None:
        """The cells of a field, typed by the second opinion; None without one."""
        if self.second_opinion is None:
            return None
        trained, side = self.manifest.microns_per_pixel, self.side
        assumed = trained * side / min(image.shape[:2]) if trained and side else None
        return cell_typing.typed(image, self.second_opinion, known, assumed)

    def turned(self, row: np.ndarray, cells: Sequence[FoundCell], distance: float) -> np.ndarray:
        """The network's probabilities (C,) with leukaemia as a whole judged by the cells too."""
        known = self.manifest.familiarity
        return opinion.combined(
            row,
            opinion.malignant_of(self.manifest),
            share=self.leukaemia_by(cells),
            distance=distance,
            limit=known.threshold if known else 0.0,
        )

    def leukaemia_by(self, cells: Sequence[FoundCell]) -> float:
        """Probability of leukaemia 0..1 by a field's cells alone, as the second opinion typed them."""
        other = self.second_opinion
        table = np.array([list(cell.probabilities.values()) for cell in cells])
        return opinion.leukaemia(
            opinion.expected_blasts(table, opinion.malignant_of(other.manifest)) if other else 0.0
        )

    @cached_property
    def second_opinion(self) -> Predictor | None:
        """The single-cell model the manifest names, loaded when it is first asked; it lies beside this one."""
        wanted = self.manifest.second_opinion
        if wanted is None or self.directory is None:
            return None
        other = Predictor.load(self.directory.parents[1] / wanted.task / wanted.version, str(self.engine.device))
        if other.manifest.weights.sha256 != wanted.weights_sha256:
            raise WeightsError(f"{other.manifest.model} is not the model that {self.manifest.model} was released with")
        return other

    def answer(self, row: np.ndarray) -> Prediction:
        best = int(row.argmax())
        confidence = float(row[best])
        unsure = confidence < self.manifest.abstention_threshold
        conformal = self.manifest.conformal
        members = calibration.conformal_sets(row[None], conformal.threshold)[0] if conformal else []
        return Prediction(
            task=self.manifest.task,
            model=self.manifest.model,
            label=self.manifest.codes[best],
            probabilities={code: float(value) for code, value in zip(self.manifest.codes, row, strict=True)},
            confidence=confidence,
            refused=False,
            abstained=unsure,
            reasons=("low_confidence",) if unsure else (),
            prediction_set=tuple(code for code, held in zip(self.manifest.codes, members, strict=False) if held),
        )

    def refusal(self, found: tuple[str, ...]) -> Prediction:
        return Prediction(self.manifest.task, self.manifest.model, None, {}, 0.0, True, False, found)

    def fall_back_unless_exact(self) -> None:
        """Compare the fast engine with eager fp32 on a few drawn smears; too far apart, and fp32 it is."""
        if self.engine.name == EAGER:
            return
        drawn = [reference.draw_smear(seed) for seed in range(2)]
        fast = self.probabilities(drawn)
        quick, self.engine = self.engine, Engine(EAGER, self.engine.device, nullcontext)
        gap = float(np.abs(fast - self.probabilities(drawn)).max())
        if gap <= PARITY:
            self.engine = quick
        else:
            logger.warning("%s differs from fp32 by %.3f; running eager fp32", quick.name, gap)


EAGER = "eager-fp32"


@cache
def _hands() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="prepare")


def side_by_side(work: Callable[..., Made], *values: Sequence[Any]) -> list[Made]:
    """What `work` makes of each picture, in their order: OpenCV and NumPy let go of the interpreter meanwhile."""
    given = list(zip(*values, strict=True))
    if len(given) < 2:
        return [work(*each) for each in given]
    return list(_hands().map(lambda each: work(*each), given))


@torch.inference_mode()
def forward(net: nn.Module, ready: Tensor, engine: Engine) -> np.ndarray:
    """Float (N, 3, H, W) to logits (N, classes) float32."""
    ready = ready.to(engine.device).contiguous(memory_format=torch.channels_last)
    with engine.autocast():
        logits: np.ndarray = (engine.network or net)(ready).float().cpu().numpy()
    return logits


def batches(images: Sequence[np.ndarray], size: int) -> Iterator[Sequence[np.ndarray]]:
    for start in range(0, len(images), max(1, size)):
        yield images[start : start + max(1, size)]


def read_weights(directory: Path, manifest: Manifest) -> dict[str, Tensor]:
    """The tensors of the weights file, after its sha256 agreed with the manifest's. Never unpickles anything."""
    path = directory / manifest.weights.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"no readable weights at {path}: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.weights.sha256:
        raise WeightsError(f"{path} is not the file its manifest names: sha256 {digest[:12]}... is not as expected")
    try:
        return load_safetensors(data)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error


def network_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's own among the tensors of a weights file, in fp32: without what tells how familiar a picture is."""
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in state.items()
        if not key.startswith(familiarity.PREFIX)
    }


def network(manifest: Manifest, state: dict[str, Tensor]) -> nn.Module:
    """The manifest's network with the given weights, in fp32, giving its features too where familiarity needs them."""
    if manifest.architecture != model.ARCHITECTURE:
        raise WeightsError(f"unknown architecture {manifest.architecture!r}")
    with torch.device("meta"):
        net = model.build(len(manifest.classes))
    try:
        net.load_state_dict(network_weights(state), assign=True)
    except RuntimeError as error:
        raise WeightsError(f"the weights do not fit {manifest.architecture}: {str(error)[:300]}") from error
    if familiarity.Familiarity.of(state) is not None:
        model.give_features(net)
    return net


def choose_engine(device: str) -> Engine:
    """bf16 autocast where the hardware multiplies it, eager fp32 elsewhere."""
    try:
        place = devices.named(device)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    if place.type == "cuda" or (place.type == "cpu" and cpu_has_bf16()):
        return Engine(f"autocast-bf16-{place.type}", place, lambda: torch.autocast(place.type, dtype=torch.bfloat16))
    return Engine(EAGER, place, nullcontext)


def cpu_has_bf16() -> bool:
    """AVX512-BF16 or AMX; elsewhere bf16 is emulated and slower than fp32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(check() for name in checks if (check := getattr(torch.cpu, name, None)) is not None)
