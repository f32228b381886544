"""Several processes that train one network together, as `torchrun --nproc-per-node 2 -m ml.train …` starts them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn

from ml import devices

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is, and its device; alone, everything here does nothing."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """The one that measures, writes and talks."""
        return self.rank == 0

    def share(self, chosen: np.ndarray) -> np.ndarray:
        """This process's part of a batch."""
        return chosen[self.rank :: self.count]

    def wrapped(self, net: nn.Module) -> nn.Module:
        """The network with gradients averaged over the processes after each backward pass."""
        return net if self.count == 1 else nn.parallel.DistributedDataParallel(net)

    def wait(self) -> None:
        if self.count > 1:
            distributed.barrier()


def chosen_device(wanted: str) -> torch.device:
    """The device to train on (see `devices.named`); of several GPUs, each of torchrun's processes takes its own."""
    device = devices.named(wanted)
    own = os.environ.get("LOCAL_RANK", "0")
    return devices.named(f"cuda:{own}") if str(device) == "cuda" else device


@contextlib.contextmanager
def joined(wanted: str = "auto") -> Iterator[Ranks]:
    """The processes torchrun started, or this one alone, on the device that is wanted (see `chosen_device`)."""
    device = chosen_device(wanted)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.deterministic = True  # a resumed run walks the same path
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(device=device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), count, device)
    finally:
        distributed.destroy_process_group()
