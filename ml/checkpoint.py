"""The state of a training run on disk: safetensors and JSON, so nothing is ever unpickled.

`last.safetensors` holds network, average and optimiser tensors under prefixes; everything else (epoch, curves,
settings, fingerprint of the data) is in the file's metadata. One file, replaced atomically.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE_NAME = "last.safetensors"


class CheckpointError(RuntimeError):
    """The checkpoint is damaged or belongs to something else."""


@dataclass
class Checkpoint:
    """`facts` is JSON-serialisable; the tensor dictionaries are state dicts as torch gives them."""

    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)


def save(directory: Path, state: Checkpoint) -> None:
    """Replace DIRECTORY/last.safetensors; a kill leaves the state before or after, never half."""
    tensors = {f"network.{key}": value for key, value in state.network.items()}
    tensors.update({f"average.{key}": value for key, value in state.average.items()})
    plain: dict[str, dict[str, Any]] = {}
    for index, slots in state.optimiser["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    facts = {"facts": state.facts, "slots": plain, "groups": state.optimiser["param_groups"]}
    partial = directory / f"{FILE_NAME}.partial"
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    save_file(contiguous, partial, metadata={"leukoscope": json.dumps(facts)})
    os.replace(partial, directory / FILE_NAME)


def load(directory: Path) -> Checkpoint:
    """The state `save` wrote; raises CheckpointError when it is not there or damaged."""
    path = directory / FILE_NAME if directory.is_dir() else directory
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["leukoscope"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    slots: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in facts["slots"].items()}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimiser":
            index, _, name = rest.partition(".")
            slots.setdefault(int(index), {})[name] = value
    return Checkpoint(
        network=part(tensors, "network."),
        average=part(tensors, "average."),
        optimiser={"state": slots, "param_groups": facts["groups"]},
        facts=facts["facts"],
    )


def facts(directory: Path) -> dict[str, Any]:
    """What a checkpoint says about itself, without reading its tensors."""
    path = directory / FILE_NAME
    try:
        with safe_open(path, framework="pt") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {})["leukoscope"])["facts"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    return found


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def digest(state: dict[str, Tensor]) -> str:
    """sha256 over names and exact values: equal means the very same weights."""
    import hashlib

    total = hashlib.sha256()
    for key in sorted(state):
        total.update(key.encode())
        total.update(state[key].detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
