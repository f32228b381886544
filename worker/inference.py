"""The models this process has loaded, and running one on a batch."""

import logging
import math
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import numpy as np
import torch
from django.conf import settings
from django.core.files.storage import storages
from django.db.models import Exists, OuterRef, Q

from diagnosis.models import ModelVersion, PredictionRun
from diagnosis.states import ModelStatus, RunState
from ml import reference
from ml.decode import DecodeError, decode
from ml.manifest import Manifest
from ml.predictor import Prediction, Predictor
from worker.answers import UnsoundAnswer, cells_of
from worker.backends import engine_reason, engines_improve
from worker.claiming import Claim, Result
from worker.heartbeat import Serving

logger = logging.getLogger(__name__)

CPU_BATCH_SIZE = 16
GPU_BATCH_SIZE = 64
DECODING_THREADS = 2
SERVING = (ModelStatus.ACTIVE, ModelStatus.SHADOW)
FOR_COMPARISON = (ModelStatus.SHADOW, ModelStatus.CANDIDATE)

_loading = threading.Lock()
_predictors: dict[UUID, Predictor] = {}
_stand_ins: WeakKeyDictionary[Predictor, Predictor] = WeakKeyDictionary()


class ModelUnavailable(Exception):
    """A registered model cannot be served by this process; the message says why."""


@dataclass(frozen=True)
class Loaded:
    """What this process can serve, and why it cannot serve the rest: `asides` are problems no case waits for."""

    predictors: dict[UUID, Predictor]
    problems: list[str]
    asides: list[str] = field(default_factory=list)

    @property
    def any(self) -> Predictor | None:
        return next(iter(self.predictors.values()), None)


def models_load() -> Loaded:
    """Load what is wanted and not loaded yet, forget what is not wanted any more."""
    problems: list[str] = []
    asides: list[str] = []
    with _loading:
        wanted = {version.pk: version for version in models_wanted()}
        for stale in _predictors.keys() - wanted.keys():
            del _predictors[stale]
        for version in wanted.values():
            try:
                if version.pk not in _predictors:
                    _predictors[version.pk] = predictor_of(version)
            except ModelUnavailable as problem:
                (asides if version.status in FOR_COMPARISON else problems).append(str(problem))
        loaded = dict(_predictors)
    if all(version.status in FOR_COMPARISON for version in wanted.values()):
        problems.append("No model version is active.")
    return Loaded(predictors=loaded, problems=problems, asides=asides)


def models_wanted() -> Iterable[ModelVersion]:
    """The active and shadow versions, and any other for which runs still wait: a version is often replaced before all
    that was handed in under it is done."""
    waiting = PredictionRun.objects.filter(model_version=OuterRef("pk"), state=RunState.QUEUED)
    return ModelVersion.objects.filter(Q(status__in=SERVING) | Exists(waiting)).order_by("pk")


def predictor_of(version: ModelVersion) -> Predictor:
    """Load the model of this version; raises ModelUnavailable with the reason."""
    try:
        predictor = Predictor.load(settings.MODELS_DIR / version.task / version.version, settings.INFERENCE_DEVICE)
    except Exception as error:  # whatever is wrong with a file on disk, the queue waits and says why
        raise ModelUnavailable(f"{version}: {error}") from error
    predictor.types_every_field = settings.INFERENCE_CELLS == "always"
    found = predictor.manifest.weights.sha256
    if found != version.weights_sha256:
        raise ModelUnavailable(
            f"{version}: the weights on disk ({found[:12]}) are not those registered ({version.weights_sha256[:12]})."
        )
    try:
        predictor.predict([reference.draw_smear(0)])
    except Exception as error:
        raise ModelUnavailable(f"{version}: it fails on a test picture ({error!r}).") from error
    for differing in registered_otherwise(predictor.manifest, version.manifest):
        raise ModelUnavailable(f"{version}: the {differing} in its manifest on disk is not what was registered.")
    return predictor


def registered_otherwise(found: Manifest, registered: dict[str, Any]) -> list[str]:
    """What decides the answer beside the weights, where the release on disk has it otherwise than the registry: the
    same weights under another order of classes would name every cell wrongly."""
    on_disk, known = decisive(found.model_dump(mode="json")), decisive(registered)
    return [name for name in known if known[name] != on_disk.get(name)]


DECISIVE = (
    "preprocessing",
    "temperature",
    "class_bias",
    "abstention_threshold",
    "conformal",
    "familiarity",
    "second_opinion",
    "microns_per_pixel",
)


def decisive(manifest: dict[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {name: manifest[name] for name in DECISIVE if name in manifest}
    if "refusal" in manifest:
        parts["refusal"] = manifest["refusal"]["thresholds"]
    return parts | {"classes": [entry["code"] for entry in manifest["classes"]]}


def serving(loaded: Loaded) -> Serving:
    """Ready means: whatever is handed in now will be predicted."""
    served = loaded.any
    reasons = [
        f"{predictor.manifest.task} {predictor.manifest.version}: {reason}"
        for predictor in loaded.predictors.values()
        if (reason := engine_reason(predictor))
    ]
    return Serving(
        ready=served is not None and not loaded.problems,
        device=served.device if served else "",
        backend=served.backend if served else "",
        loaded=sorted(f"{p.manifest.task} {p.manifest.version}" for p in loaded.predictors.values()),
        message=" ".join(f"{said.rstrip('.')}." for said in (*loaded.problems, *loaded.asides, *reasons)),
    )


def engines_look_for_faster(loaded: Loaded) -> None:
    """In the background, for each model once; with the batch size it is going to be used with."""
    if loaded.any:
        engines_improve(loaded.predictors.values(), batch_size(loaded.any))


def batch_size(predictor: Predictor) -> int:
    if settings.INFERENCE_BATCH_SIZE:
        return int(settings.INFERENCE_BATCH_SIZE)
    return GPU_BATCH_SIZE if predictor.device.startswith("cuda") else CPU_BATCH_SIZE


@dataclass(frozen=True)
class Batch:
    """A claim with its pictures decoded; `broken` are the runs that went wrong so far, with their reasons."""

    claim: Claim
    decoded: list[tuple[PredictionRun, np.ndarray]] = field(default_factory=list)
    broken: list[tuple[PredictionRun, str]] = field(default_factory=list)


@cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="decode")


def batch_decode(claim: Claim) -> Batch:
    """Fetch one after the other, decode side by side: Pillow lets go of the interpreter while it works."""
    batch = Batch(claim)
    fetched = [(run, _fetch(run)) for run in claim.runs]
    decoding = [_decoders().submit(_decode, data) for _, data in fetched]
    for (run, _), picture in zip(fetched, decoding, strict=True):
        try:
            batch.decoded.append((run, picture.result()))
        except (DecodeError, OSError) as error:
            batch.broken.append((run, f"The stored image could not be read: {error}"))
    return batch


def _fetch(run: PredictionRun) -> bytes | OSError:
    try:
        with storages["smears"].open(run.image.sha256) as stored:
            data: bytes = stored.read()
            return data
    except OSError as error:
        return error


def _decode(data: bytes | OSError) -> np.ndarray:
    if isinstance(data, OSError):
        raise data
    return decode(data)


def batch_predict(batch: Batch, predictor: Predictor) -> tuple[list[Result], list[tuple[PredictionRun, str]]]:
    """Returns the results, and the runs that went wrong with their reasons."""
    results: list[Result] = []
    broken = list(batch.broken)
    try:
        scales = [run.image.microns_per_pixel for run, _ in batch.decoded]
        answers = _predict(predictor, [picture for _, picture in batch.decoded], scales)
    except Exception as error:  # one bad image must not end the worker; each is tried alone next time
        logger.exception("A batch of %d images failed", len(batch.decoded))
        return [], broken + [(run, f"The model failed on this image: {error}") for run, _ in batch.decoded]
    for (run, picture), (prediction, by) in zip(batch.decoded, answers, strict=True):
        try:
            results.append(replace(_result(run, prediction, picture), device=by.device, backend=by.backend))
        except UnsoundAnswer as error:
            broken.append((run, f"The model's answer to this image is not sound: {error}."))
    return results, broken


def _predict(
    predictor: Predictor, pictures: list[np.ndarray], scales: list[float | None]
) -> list[tuple[Prediction, Predictor]]:
    """Each with who gave it. In smaller portions where the device has not the memory for all at once; on the
    processor where it has not enough for one."""
    if not pictures:
        return []
    try:
        found = predictor.predict(pictures, batch=len(pictures), microns_per_pixel=scales)
        return [(prediction, predictor) for prediction in found]
    except torch.OutOfMemoryError:
        logger.warning("Out of memory with %d images at once on %s", len(pictures), predictor.device)
        torch.cuda.empty_cache()
    if len(pictures) == 1:
        stand_in = _on_cpu(predictor)
        return [(stand_in.predict(pictures, microns_per_pixel=scales)[0], stand_in)]
    half = len(pictures) // 2
    return _predict(predictor, pictures[:half], scales[:half]) + _predict(predictor, pictures[half:], scales[half:])


def _on_cpu(predictor: Predictor) -> Predictor:
    """The same release on the processor, made when it is first needed."""
    if predictor not in _stand_ins:
        _stand_ins[predictor] = predictor.on_cpu()
    return _stand_ins[predictor]


def _result(run: PredictionRun, prediction: Prediction, picture: np.ndarray) -> Result:
    if not math.isfinite(prediction.confidence):
        raise UnsoundAnswer("it is not a number")
    if prediction.refused:
        return Result(id=str(run.pk), state=RunState.REFUSED.value, reasons=list(prediction.reasons))
    return Result(
        id=str(run.pk),
        state=RunState.SUCCEEDED.value,
        label=prediction.label or "",
        confidence=prediction.confidence,
        probabilities=prediction.probabilities,
        abstained=prediction.abstained,
        reasons=list(prediction.reasons),
        cells=cells_of(prediction, *picture.shape[:2]),
    )
