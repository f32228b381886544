"""Ways to run a released network: one small interface, `build(predictor, batch, cache) -> Engine`.

Whoever asks for a backend gets an engine or `BackendUnavailable` with the reason; whether the engine may serve is
decided by `ml.choosing`, which holds it against eager fp32. What takes long to make is kept in a folder under a name
that holds everything it depends on, so a second start finds it and a change of any of them does not.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ml import preprocessing, reference
from ml.predictor import EAGER, Engine, Predictor, cpu_has_bf16

Build = Callable[[Predictor, int, Path], Engine]

COMPILE_SECONDS = 1200
KEPT_ARTEFACTS = 8


class BackendUnavailable(Exception):
    """This backend cannot run here; the message says why."""


def eager(predictor: Predictor, batch: int, cache: Path) -> Engine:
    """fp32 as PyTorch runs it: what every other backend is held against."""
    return Engine(EAGER, predictor.engine.device, nullcontext)


def autocast(predictor: Predictor, batch: int, cache: Path) -> Engine:
    """bf16 multiplications, fp32 weights, channels_last. Not pure bf16, which is slower."""
    device = predictor.engine.device
    if device.type == "cpu" and not cpu_has_bf16():
        raise BackendUnavailable("this processor does not multiply bf16, so autocast would be slower than fp32")
    return Engine(f"autocast-bf16-{device.type}", device, lambda: torch.autocast(device.type, dtype=torch.bfloat16))


def cuda(predictor: Predictor, batch: int, cache: Path) -> Engine:
    if predictor.engine.device.type != "cuda":
        raise BackendUnavailable("there is no CUDA device here")
    return autocast(predictor, batch, cache)


def compiled(predictor: Predictor, batch: int, cache: Path) -> Engine:
    """TorchInductor with the weights frozen in, made ahead of time by a process of its own (`ml.compiling`).

    So the making takes neither the interpreter of the worker that serves meanwhile, nor the worker with it should
    the compiler crash; and a worker that finds it made loads it in a moment.
    """
    package = artefact(predictor, batch, cache, "compile", ".pt2")
    if not package.is_file():
        make_compiled(predictor, batch, package)
    try:
        program = torch._inductor.aoti_load_package(str(package))
    except Exception as error:
        package.unlink(missing_ok=True)
        raise BackendUnavailable(f"what was compiled could not be loaded: {last_line(str(error))}") from error
    return whole_batches(predictor, f"compile-{number_format(predictor)}", program, batch)


def openvino(predictor: Predictor, batch: int, cache: Path) -> Engine:
    """Intel's runtime, where somebody has installed it: `pip install openvino`."""
    try:
        runtime: Any = importlib.import_module("openvino")
    except ImportError as error:
        raise BackendUnavailable("openvino is not installed") from error
    if predictor.engine.device.type != "cpu":
        raise BackendUnavailable("openvino is used on processors alone")
    model = artefact(predictor, batch, cache, f"openvino-{runtime.__version__.split('-')[0]}", ".xml")
    core = runtime.Core()
    try:
        if not model.is_file():
            make_openvino(runtime, predictor, batch, model)
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if cpu_has_bf16() else "f32"}
        ready = core.compile_model(str(model), "CPU", hints | {"INFERENCE_NUM_THREADS": torch.get_num_threads()})
    except Exception as error:
        raise BackendUnavailable(f"openvino: {last_line(str(error))}") from error

    def program(pictures: Tensor) -> Tensor:
        return torch.from_numpy(ready(pictures.contiguous().numpy())[0].copy())

    return whole_batches(predictor, f"openvino-{number_format(predictor)}", program, batch)


BACKENDS: dict[str, Build] = {
    "eager": eager,
    "autocast": autocast,
    "compile": compiled,
    "openvino": openvino,
    "cuda": cuda,
}


class WholeBatches(nn.Module):
    """A program made for batches of one size. Fewer pictures are padded up, or left to the network as it is where
    that is quicker: below `least`."""

    def __init__(self, program: Callable[[Tensor], Tensor], size: int, fewer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.program = program
        self.size = size
        self.fewer = fewer
        self.least = size

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.cat([self.portion(part) for part in pictures.split(self.size)])

    def portion(self, pictures: Tensor) -> Tensor:
        count = len(pictures)
        if count < self.least:
            return self.fewer(pictures)
        padding = pictures[-1:].expand(self.size - count, -1, -1, -1)
        whole = torch.cat([pictures, padding]) if count < self.size else pictures
        return self.program(whole.contiguous(memory_format=torch.channels_last))[:count]

    def worth_from(self, share: float) -> None:
        """Pad where a whole batch of ours takes no longer than so few pictures take otherwise: `share` is our time
        for a whole batch over the other's."""
        self.least = min(self.size, max(1, math.ceil(self.size * share)))


def whole_batches(predictor: Predictor, name: str, program: Callable[[Tensor], Tensor], batch: int) -> Engine:
    base, net = predictor.engine, predictor.net

    def fewer(pictures: Tensor) -> Tensor:
        with base.autocast():
            logits: Tensor = net(pictures)
            return logits.float()

    return Engine(name, base.device, nullcontext, WholeBatches(program, batch, fewer))


def number_format(predictor: Predictor) -> str:
    return "bf16" if predictor.engine.device.type == "cuda" or cpu_has_bf16() else "fp32"


def picture_size(predictor: Predictor) -> int:
    """Side in pixels of what the network is given."""
    return int(preprocessing.apply(reference.draw_smear(0), predictor.steps).shape[-1])


def artefact(predictor: Predictor, batch: int, cache: Path, kind: str, suffix: str) -> Path:
    """Where the artefact lies for these weights, versions, sizes and this very kind of processor."""
    parts = (
        predictor.manifest.weights.sha256,
        torch.__version__,
        platform.python_version(),
        processor(),
        str(predictor.engine.device),
        torch.get_num_threads(),
        batch,
        picture_size(predictor),
    )
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]
    return cache / f"{kind}-{predictor.manifest.task}-{digest}{suffix}"


def processor() -> str:
    """What machine code depends on; code for one processor may end the process on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {torch.backends.cpu.get_cpu_capability()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def make_compiled(predictor: Predictor, batch: int, package: Path) -> None:
    """In a process of its own, of low priority; of several workers on this machine one makes it, the others wait."""
    if shutil.which(os.environ.get("CXX", "g++")) is None and shutil.which("clang++") is None:
        raise BackendUnavailable("there is no C++ compiler here")
    directory = predictor.directory
    if directory is None:
        raise BackendUnavailable("the release this was loaded from is not known")
    with sole_maker(package.parent):
        if package.is_file():
            return
        threads, device = torch.get_num_threads(), str(predictor.engine.device)
        options = [str(directory), device, str(batch), str(threads), str(package), str(os.getpid())]
        try:
            subprocess.run(
                [sys.executable, "-m", "ml.compiling", *options],
                check=True,
                capture_output=True,
                text=True,
                timeout=COMPILE_SECONDS,
                cwd=Path(__file__).parents[1],
            )
        except subprocess.TimeoutExpired as error:
            raise BackendUnavailable(f"compiling took longer than {COMPILE_SECONDS} s") from error
        except subprocess.CalledProcessError as error:
            raise BackendUnavailable(f"compiling failed: {last_line(error.stderr)}") from error
        keep_newest(package.parent, ".pt2")


def make_openvino(runtime: Any, predictor: Predictor, batch: int, path: Path) -> None:
    side = picture_size(predictor)
    with sole_maker(path.parent):
        if path.is_file():
            return
        model = runtime.convert_model(predictor.net, example_input=torch.zeros(batch, 3, side, side))
        model.reshape([batch, 3, side, side])
        partial = path.with_name(f"{path.stem}.partial.xml")
        runtime.save_model(model, str(partial), compress_to_fp16=False)
        os.replace(partial.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(partial, path)
        keep_newest(path.parent, ".xml")


@contextmanager
def sole_maker(folder: Path) -> Iterator[None]:
    """One at a time on this machine."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def keep_newest(folder: Path, suffix: str) -> None:
    made = sorted(folder.glob(f"*{suffix}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in made[KEPT_ARTEFACTS:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".bin").unlink(missing_ok=True)


def last_line(said: str | None) -> str:
    lines = [line.strip() for line in (said or "").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
