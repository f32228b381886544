"""A released model, ready to answer: verified weights, the manifest's own preprocessing, refusal and abstention.

The one way from pictures to predictions, for the worker and the command line alike.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from ml import model, preprocessing, quality, reference, scale
from ml.cells import FoundCell
from ml.manifest import Manifest

logger = logging.getLogger(__name__)

BATCH = 16
PARITY = 0.02


class WeightsError(RuntimeError):
    """The weights are missing, altered, or of another network; the message says which."""


@dataclass(frozen=True)
class Prediction:
    """One picture's answer; a morphological suggestion, never a diagnosis.

    `probabilities` are calibrated, 0..1 by class code, and sum to 1; empty when refused. `confidence` is the highest
    of them (0.0 when refused). `label` is None when refused. `abstained`: a label is named but should not be relied
    on. `reasons` are codes of `ml.quality.REASONS`. `cells` are the cells of a field, where they were looked for.
    """

    task: str
    model: str
    label: str | None
    probabilities: dict[str, float]
    confidence: float
    refused: bool
    abstained: bool
    reasons: tuple[str, ...]
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
    """Load with `Predictor.load(directory)`; not thread-safe, keep one for each process."""

    directory: Path | None = None

    def __init__(self, manifest: Manifest, net: nn.Module, engine: Engine) -> None:
        self.manifest = manifest
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
        net = network(manifest, read_weights(Path(directory), manifest))
        predictor = cls(manifest, net, choose_engine(device))
        predictor.directory = Path(directory).resolve()
        predictor.fall_back_unless_exact()
        return predictor

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
        refusals = [self.objections(image, known) for image, known in zip(images, scales, strict=True)]
        usable = [index for index, found in enumerate(refusals) if not found]
        rows = self.pooled([self.views(images[index], scales[index]) for index in usable], batch)
        answers: list[Prediction] = [self.refusal(found) for found in refusals]
        for index, row in zip(usable, rows, strict=True):
            answers[index] = self.answer(row)
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
        most = scale.MOST_TILES if self.manifest.input == "field" else 1
        return scale.views(image, known, trained, side, most)

    def pooled(self, pictures: Sequence[Sequence[np.ndarray]], batch: int) -> np.ndarray:
        """The mean of each picture's views, as probabilities (N, classes).

        Probabilities and not logits: one empty square that the network is sure about cannot outvote the rest.
        """
        rows = self.probabilities([view for views in pictures for view in views], batch)
        ends = np.cumsum([0, *(len(views) for views in pictures)])
        means = [rows[start:end].mean(axis=0) for start, end in pairwise(ends)]
        return np.stack(means) if means else rows

    @property
    def side(self) -> int | None:
        """Side in pixels of the square that the resize step makes; None without that step."""
        sizes = [step.parameters.get("size", 224) for step in self.steps if step.enabled and step.name == "resize"]
        return int(sizes[0]) if sizes else None

    def probabilities(self, images: Sequence[np.ndarray], batch: int = BATCH) -> np.ndarray:
        """Calibrated probabilities (N, classes), float64, refusing nothing."""
        logits = self.logits(images, batch)
        scaled = logits.astype(np.float64) / self.manifest.temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        exponent = np.exp(scaled)
        return exponent / exponent.sum(axis=1, keepdims=True)

    def logits(self, images: Sequence[np.ndarray], batch: int = BATCH) -> np.ndarray:
        """Raw logits (N, classes), float32."""
        parts = [self.run(chunk) for chunk in batches(images, batch)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.manifest.classes)), np.float32)

    def run(self, images: Sequence[np.ndarray]) -> np.ndarray:
        ready = torch.from_numpy(np.stack([preprocessing.apply(image, self.steps) for image in images]))
        return forward(self.net, ready, self.engine)

    def answer(self, row: np.ndarray) -> Prediction:
        best = int(row.argmax())
        confidence = float(row[best])
        unsure = confidence < self.manifest.abstention_threshold
        return Prediction(
            task=self.manifest.task,
            model=self.manifest.model,
            label=self.manifest.codes[best],
            probabilities={code: float(value) for code, value in zip(self.manifest.codes, row, strict=True)},
            confidence=confidence,
            refused=False,
            abstained=unsure,
            reasons=("low_confidence",) if unsure else (),
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


def network(manifest: Manifest, state: dict[str, Tensor]) -> nn.Module:
    """The manifest's network with the given weights, in fp32."""
    if manifest.architecture != model.ARCHITECTURE:
        raise WeightsError(f"unknown architecture {manifest.architecture!r}")
    with torch.device("meta"):
        net = model.build(len(manifest.classes))
    full = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    try:
        net.load_state_dict(full, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"the weights do not fit {manifest.architecture}: {str(error)[:300]}") from error
    return net


def choose_engine(device: str) -> Engine:
    """bf16 autocast where the hardware multiplies it, eager fp32 elsewhere."""
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        place = torch.device(wanted)
    except RuntimeError as error:
        raise WeightsError(f"unknown device {device!r}") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise WeightsError("no CUDA device is available here")
    if place.type == "cuda" or (place.type == "cpu" and cpu_has_bf16()):
        return Engine(f"autocast-bf16-{place.type}", place, lambda: torch.autocast(place.type, dtype=torch.bfloat16))
    return Engine(EAGER, place, nullcontext)


def cpu_has_bf16() -> bool:
    """AVX512-BF16 or AMX; elsewhere bf16 is emulated and slower than fp32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(check() for name in checks if (check := getattr(torch.cpu, name, None)) is not None)
