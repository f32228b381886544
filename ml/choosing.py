"""Which backend serves: every one is held against eager fp32 first, then against the clock.

The bar of parity is the one a release is measured by: no probability off by more than 0.02, no class changed where
eager fp32 is more than 0.6 sure.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ml import preprocessing, reference
from ml.backends import BACKENDS, BackendUnavailable, WholeBatches, eager
from ml.predictor import EAGER, PARITY, Engine, Predictor, forward

SURE = 0.6
# A backend that saves less than this is not worth the change.
WORTH = 0.95
ROUNDS = 3
AUTO = ("openvino", "compile")


@dataclass(frozen=True)
class Parity:
    """How far a backend is from eager fp32 on `pictures` pictures."""

    largest_gap: float
    classes_changed: int
    pictures: int

    @property
    def holds(self) -> bool:
        return self.largest_gap <= PARITY and not self.classes_changed

    def __str__(self) -> str:
        changed = f", {self.classes_changed} classes changed" if self.classes_changed else ""
        return f"probabilities within {self.largest_gap:.4f} of fp32{changed}"


@dataclass(frozen=True)
class Choice:
    """The engine that is to serve, and why, for people."""

    engine: Engine
    reason: str


def parity(predictor: Predictor, engine: Engine, pictures: Sequence[np.ndarray], batch: int) -> Parity:
    """Both run on the same pictures. An answer that is not a number counts as wholly wrong."""
    exact = with_engine(predictor, eager(predictor, batch, Path())).probabilities(pictures, batch)
    return compare(exact, with_engine(predictor, engine).probabilities(pictures, batch))


def compare(exact: np.ndarray, fast: np.ndarray) -> Parity:
    """Probabilities (N, classes) of eager fp32 and of another backend."""
    gaps = np.where(np.isfinite(fast), np.abs(fast - exact), 1.0)
    changed = (exact.argmax(axis=1) != fast.argmax(axis=1)) & (exact.max(axis=1) > SURE)
    return Parity(float(gaps.max(initial=0.0)), int(changed.sum()), len(exact))


def with_engine(predictor: Predictor, engine: Engine) -> Predictor:
    """The same release on another engine; nothing is copied."""
    return Predictor(predictor.manifest, predictor.net, engine)


def choose(predictor: Predictor, wanted: str, batch: int, cache: Path) -> Choice:
    """`auto`: the fastest of what is here; a backend by name: that one, however fast. Never one without parity.

    May take as long as a compiler does; the predictor can serve meanwhile.
    """
    base = predictor.engine
    if wanted != "auto":
        return demanded(predictor, wanted, batch, cache)
    best, said = Choice(base, ""), []
    for name in AUTO:
        try:
            found = trial(predictor, name, batch, cache)
        except BackendUnavailable as problem:
            said.append(f"{name}: {problem}")
            continue
        share = shares(predictor, found.engine, best.engine, batch)
        said.append(f"{name}: {1 / share:.2f}× {best.engine.name}, {found.reason}")
        if share <= WORTH:
            best = found
    tune(predictor, best.engine, base, batch)
    return Choice(best.engine, f"{best.engine.name} chosen. " + "; ".join(said) + ".")


def demanded(predictor: Predictor, name: str, batch: int, cache: Path) -> Choice:
    base = predictor.engine
    try:
        found = trial(predictor, name, batch, cache)
    except BackendUnavailable as problem:
        return Choice(base, f"{base.name} instead of {name}: {problem}.")
    tune(predictor, found.engine, base, batch)
    return Choice(found.engine, f"{found.engine.name} as set, {found.reason}.")


def trial(predictor: Predictor, name: str, batch: int, cache: Path) -> Choice:
    """Build it and hold it against eager fp32; raises BackendUnavailable where it may not serve."""
    if name not in BACKENDS:
        raise BackendUnavailable(f"there is no such backend; there are {', '.join(BACKENDS)}")
    engine = BACKENDS[name](predictor, batch, cache)
    if engine.name == EAGER:
        return Choice(engine, "it is what the others are held against")
    try:
        found = parity(predictor, engine, drawn(batch), batch)
    except Exception as error:  # whatever foreign code raises, it may not serve
        raise BackendUnavailable(f"it fails on test pictures ({error!r})") from error
    if not found.holds:
        raise BackendUnavailable(f"not exact enough, {found}")
    return Choice(engine, str(found))


def drawn(count: int) -> list[np.ndarray]:
    """Pictures with few and many nuclei, so that the answers differ."""
    return [reference.draw_smear(seed, nuclei=2 + 3 * seed % 17) for seed in range(count)]


def tune(predictor: Predictor, engine: Engine, base: Engine, batch: int) -> None:
    """Find from how many pictures on a program for whole batches is worth its padding."""
    if isinstance(engine.network, WholeBatches):
        engine.network.worth_from(shares(predictor, engine, base, batch))


def shares(predictor: Predictor, engine: Engine, other: Engine, batch: int) -> float:
    """Time of one over that of the other for a whole batch: in turns, so that both meet the same machine."""
    ready = preprocessing_of(predictor, batch)
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 1):
        times.append((seconds(predictor, engine, ready), seconds(predictor, other, ready)))
    ours, theirs = zip(*times[1:], strict=True)
    return statistics.median(ours) / statistics.median(theirs)


def preprocessing_of(predictor: Predictor, batch: int) -> np.ndarray:
    return np.stack([preprocessing.apply(picture, predictor.steps) for picture in drawn(batch)])


def seconds(predictor: Predictor, engine: Engine, ready: np.ndarray) -> float:
    started = time.perf_counter()
    forward(predictor.net, torch.from_numpy(ready), engine)
    return time.perf_counter() - started
