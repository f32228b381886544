"""`python -m ml.train --task ... --data DIR --out DIR`: train, resume, keep curves.

SGD or AdamW, warm-up and cosine, bf16 autocast in channels_last on CPU or GPU, exponential averaging of the weights.
Pictures are augmented on the CPU, so that the numbers drawn are the same on every device. The state after every epoch
is in OUT/last.safetensors; starting the same command again goes on from there. Every epoch draws its random numbers
from (seed, epoch), so a resumed run walks the same path as an unbroken one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ml import checkpoint, manifest, model, splits
from ml import config as configuration
from ml import data as datasets
from ml.checkpoint import Checkpoint, CheckpointError
from ml.config import TrainConfig
from ml.data import Dataset
from ml.predictor import WeightsError, network_weights, read_weights
from ml.ranks import Ranks, joined
from ml.tasks import TASKS, Task

NEEDED_BYTES = 1_500_000_000


class TrainingError(Exception):
    """Training cannot start or go on; the message is a sentence for people."""


def split(data: Dataset, settings: TrainConfig) -> splits.Split:
    if settings.protocol == "contiguous":
        return splits.contiguous(
            data.names, data.labels, data.groups, start=settings.held_start, share=settings.held_share
        )
    if settings.protocol == "grouped":
        return splits.grouped(data.groups, data.labels, share=settings.held_share, seed=settings.seed)
    if settings.protocol == "named":
        return splits.named(data.names, data.groups, pattern=settings.held_pattern)
    if settings.protocol == "random":
        return splits.random(data.labels, share=settings.held_share, seed=settings.seed)
    if settings.protocol == "whole":
        return splits.whole(len(data))
    raise TrainingError(f"unknown split protocol {settings.protocol!r}")


def draw(labels: np.ndarray, settings: TrainConfig, generator: torch.Generator) -> Tensor:
    """Positions (samples,) into the training set: each pass without repeats when balance is 0."""
    wanted = settings.samples or len(labels)
    counts = np.bincount(labels).astype(np.float64)
    weight = np.power(np.maximum(counts, 1.0), -settings.balance)[labels]
    if settings.balance == 0:
        passes = [torch.randperm(len(labels), generator=generator) for _ in range(math.ceil(wanted / len(labels)))]
        return torch.cat(passes)[:wanted]
    return torch.multinomial(torch.from_numpy(weight), wanted, replacement=True, generator=generator)


def to_input(pictures: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) to float (N, 3, H, W) in 0..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255.0)


def normalised(batch: Tensor, settings: TrainConfig) -> Tensor:
    """The manifest's `normalise` step on a whole batch, in the memory layout the CPU likes."""
    parameters = next(step for step in settings.steps if step.name == "normalise").parameters
    mean = torch.tensor(parameters["mean"]).view(1, 3, 1, 1)
    deviation = torch.tensor(parameters["deviation"]).view(1, 3, 1, 1)
    return ((batch - mean) / deviation).contiguous(memory_format=torch.channels_last)


def learning_rate(step: int, total: int, settings: TrainConfig) -> float:
    warm = max(1, int(total * settings.warmup))
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def make_optimiser(net: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels only; biases and BatchNorm go free."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    free = [parameter for parameter in trained if parameter.ndim <= 1]
    grouped = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(grouped, lr=settings.learning_rate, momentum=0.9, nesterov=True)
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(grouped, lr=settings.learning_rate)
    raise TrainingError(f"unknown optimiser {settings.optimiser!r}: sgd or adamw")


class Average:
    """Exponential moving average of weights and BatchNorm statistics (Izmailov et al. 2018; Polyak 1992)."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {key: value.detach().clone() for key, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        current = net.state_dict()
        floating = [key for key, value in current.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.state[key] for key in floating], [current[key] for key in floating], 1 - decay)
        for key in current.keys() - set(floating):
            self.state[key].copy_(current[key])


@torch.no_grad()
def logits_of(net: nn.Module, pictures: np.ndarray, settings: TrainConfig, crop: int) -> Tensor:
    """Logits (N, classes), on the CPU, of the middle `crop` pixels, without augmentation."""
    device = next(net.parameters()).device
    net.eval()
    parts = []
    for start in range(0, len(pictures), 64):
        batch = to_input(pictures[start : start + 64])
        top, left = (batch.shape[2] - crop) // 2, (batch.shape[3] - crop) // 2
        batch = batch[:, :, top : top + crop, left : left + crop]
        with torch.autocast(device.type, torch.bfloat16):
            parts.append(net(normalised(batch, settings).to(device)).float().cpu())
    return torch.cat(parts) if parts else torch.zeros(0, 1)


def score(logits: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro-F1 and negative log likelihood of held-out images."""
    truth = torch.from_numpy(labels)
    guess = logits.argmax(1)
    count = logits.shape[1]
    table = torch.bincount(truth * count + guess, minlength=count * count).view(count, count).double()
    hit, actual, named = table.diag(), table.sum(1), table.sum(0)
    present = actual > 0
    recall = hit[present] / actual[present]
    f1 = 2 * hit[present] / (actual[present] + named[present])
    return {
        "accuracy": float(hit.sum() / table.sum()),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "nll": float(F.cross_entropy(logits, truth)),
    }


def earlier_weights(directory: Path) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Class codes and fp32 weights of a released directory, or the averaged ones of a run folder."""
    if (directory / manifest.FILE_NAME).exists():
        released = manifest.Manifest.read(directory)
        return released.codes, network_weights(read_weights(directory, released))
    saved = checkpoint.load(directory)
    return tuple(saved.facts["classes"]), saved.average


class Run:
    """One training run: network, optimiser, average and curves, saved after every epoch."""

    def __init__(
        self,
        task: Task,
        data: Dataset,
        settings: TrainConfig,
        out: Path,
        start_from: Path | None,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or Ranks()
        self.device = self.ranks.device
        torch.manual_seed(settings.seed)
        torch.set_num_threads(max(1, settings.threads // self.ranks.count))
        self.task, self.data, self.settings, self.out = task, data, settings, out
        self.parts = split(data, settings)
        self.net = model.build(len(task.classes), settings.dropout)
        if start_from is not None:
            self.start_from(start_from)
        self.net = self.net.to(self.device).to(memory_format=torch.channels_last)
        for module in self.frozen():
            module.requires_grad_(False)
        self.wrapped = self.ranks.wrapped(self.net)
        self.optimiser = make_optimiser(self.net, settings)
        self.average = Average(self.net, settings.average_decay)
        self.curves: list[dict[str, float]] = []
        self.started_from = checkpoint.digest(self.average.state) if start_from else None
        self.planned = [[0, settings.epochs]]
        self.rate = 0.0
        self.evaluated = model.build(len(task.classes), 0.0).to(self.device).to(memory_format=torch.channels_last)

    def start_from(self, earlier: Path) -> None:
        """Take over the averaged weights of a run or a release; the head only from one with the very same classes."""
        classes, state = earlier_weights(earlier)
        if classes == self.task.codes:
            self.net.load_state_dict(state)
        else:
            model.load_trunk(self.net, state)

    @property
    def steps_per_epoch(self) -> int:
        return max(1, (self.settings.samples or len(self.parts.train)) // self.settings.batch)

    def frozen(self) -> list[nn.Module]:
        known = dict(self.net.named_children())
        unknown = sorted(set(self.settings.frozen) - known.keys())
        if unknown:
            raise TrainingError(f"there is no module {', '.join(unknown)} to freeze; known are {', '.join(known)}")
        return [known[name] for name in self.settings.frozen]

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a state to be gone on from; the number of epochs alone may change."""
        settings = configuration.as_dict(self.settings)
        del settings["epochs"]
        return {
            "task": self.task.name,
            "classes": list(self.task.codes),
            "config": settings,
            "fingerprint": self.data.fingerprint,
        }

    def resume(self) -> int:
        """The epoch to go on with; 0 when there is nothing to go on from."""
        if not (self.out / checkpoint.FILE_NAME).exists():
            return 0
        saved = checkpoint.load(self.out)
        if {key: saved.facts.get(key) for key in self.identity} != self.identity:
            raise TrainingError(f"{self.out} holds a run with other settings or other data; choose another --out")
        self.net.load_state_dict(saved.network)
        self.optimiser.load_state_dict(saved.optimiser)
        self.average.state = {key: value.to(self.device) for key, value in saved.average.items()}
        self.average.steps = saved.facts["average_steps"]
        self.curves, self.planned = saved.facts["curves"], saved.facts["planned"]
        self.started_from = saved.facts["started_from"]
        if self.planned[-1][1] != self.settings.epochs:
            self.planned.append([int(saved.facts["epoch"]), self.settings.epochs])
        return int(saved.facts["epoch"])

    def save(self, epoch: int) -> None:
        facts = {
            **self.identity,
            "started_from": self.started_from,
            "epoch": epoch,
            "planned": self.planned,
            "average_steps": self.average.steps,
            "curves": self.curves,
        }
        state = Checkpoint(self.net.state_dict(), self.average.state, self.optimiser.state_dict(), facts)
        checkpoint.save(self.out, state)
        (self.out / "curves.json").write_text(json.dumps(self.curves, indent=1))

    def train_epoch(self, epoch: int) -> dict[str, float]:
        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch)
        torch.manual_seed(settings.seed * 100_003 + epoch)
        order = draw(self.data.labels[self.parts.train], settings, generator).numpy()
        if not self.ranks.leads:
            generator.manual_seed(settings.seed * 100_003 + epoch + 1_000_000_007 * self.ranks.rank)
        self.wrapped.train()
        for module in self.frozen():
            module.eval()
        losses, hits, seen = 0.0, 0, 0
        bar = tqdm(range(self.steps_per_epoch), desc=f"epoch {epoch + 1}/{settings.epochs}", mininterval=10)
        bar.disable = bar.disable or not self.ranks.leads
        for step in bar:
            chosen = self.ranks.share(self.parts.train[order[step * settings.batch : (step + 1) * settings.batch]])
            self.set_rate(epoch * self.steps_per_epoch + step)
            loss, right = self.train_step(chosen, generator)
            losses, hits, seen = losses + loss * len(chosen), hits + right, seen + len(chosen)
            bar.set_postfix(loss=f"{losses / seen:.3f}", accuracy=f"{hits / seen:.3f}", refresh=False)
        return {"train_loss": losses / seen, "train_accuracy": hits / seen, "learning_rate": self.rate}

    def set_rate(self, step: int) -> None:
        self.rate = learning_rate(step, self.settings.epochs * self.steps_per_epoch, self.settings)
        for part in self.optimiser.param_groups:
            part["lr"] = self.rate

    def train_step(self, chosen: np.ndarray, generator: torch.Generator) -> tuple[float, int]:
        """Loss and number of right answers of one batch, before its update."""
        labels = torch.from_numpy(self.data.labels[chosen]).to(self.device)
        batch = self.settings.augmentation(to_input(self.data.pictures[chosen]), generator)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.wrapped(normalised(batch, self.settings).to(self.device))
        loss = F.cross_entropy(logits.float(), labels)
        if not torch.isfinite(loss):
            raise TrainingError("the loss is no longer a number; lower the learning rate")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.average.update(self.net)
        return loss.item(), int((logits.argmax(1) == labels).sum())

    def evaluate(self) -> dict[str, float]:
        held = self.parts.held_out
        if len(held) == 0:
            return {}
        self.evaluated.load_state_dict(self.average.state)
        logits = logits_of(self.evaluated, self.data.pictures[held], self.settings, self.settings.augmentation.crop)
        return score(logits, self.data.labels[held])

    def run(self) -> None:
        for epoch in range(self.resume(), self.settings.epochs):
            began = time.monotonic()
            row: dict[str, float] = {"epoch": epoch + 1, **self.train_epoch(epoch)}
            if self.ranks.leads:
                self.finish_epoch(epoch + 1, row, began)
            self.ranks.wait()

    def finish_epoch(self, epoch: int, row: dict[str, float], began: float) -> None:
        if epoch % self.settings.evaluate_every == 0 or epoch == self.settings.epochs:
            row.update({f"held_out_{key}": value for key, value in self.evaluate().items()})
        row["seconds"] = round(time.monotonic() - began, 1)
        self.curves.append(row)
        self.save(epoch)
        print(json.dumps(row), flush=True)


def check_space(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    if free < NEEDED_BYTES:
        raise TrainingError(f"not enough disk space in {out}: {free // 2**20} MB free, 1500 MB needed")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.train", description=__doc__.split("\n")[0])
    parser.add_argument("--task", required=True, choices=sorted(TASKS))
    parser.add_argument("--data", required=True, type=Path, help="folder holding the class folders")
    parser.add_argument("--out", required=True, type=Path, help="for state and curves; resumed when present")
    parser.add_argument("--config", type=Path, help="JSON with settings to change")
    parser.add_argument("--start-from", type=Path, help="run folder or released directory whose trunk to start from")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:N")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        with joined(options.device) as ranks:
            train(options, ranks)
    except (TrainingError, CheckpointError, WeightsError, datasets.DataError, ValueError, OSError) as error:
        print(f"training stopped: {error}", file=sys.stderr)
        return 2
    return 0


def train(options: argparse.Namespace, ranks: Ranks) -> None:
    task = TASKS[options.task]
    settings = configuration.DEFAULTS[task.name]
    if options.config:
        settings = configuration.from_json(settings, options.config)
    if options.epochs:
        settings = dataclasses.replace(settings, epochs=options.epochs)
    if settings.batch % ranks.count:
        raise TrainingError(f"a batch of {settings.batch} cannot be shared evenly among {ranks.count} processes")
    check_space(options.out)
    data = datasets.without_duplicates(datasets.load(task, options.data, settings.steps, progress=ranks.leads))
    run = Run(task, data, settings, options.out, options.start_from, ranks)
    if ranks.leads:
        record: dict[str, Any] = {
            "task": task.name,
            "config": configuration.as_dict(settings),
            "device": str(ranks.device),
            "fingerprint": data.fingerprint,
            "images": len(data),
            "sources": datasets.sources(data),
            "train": len(run.parts.train),
            "held_out": len(run.parts.held_out),
            "dropped": len(run.parts.dropped),
        }
        (options.out / "run.json").write_text(json.dumps(record, indent=1))
    run.run()


if __name__ == "__main__":
    raise SystemExit(main())
