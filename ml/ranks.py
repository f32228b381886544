"""Several processes that train one network together, as `torchrun --nproc-per-node 2 -m ml.train …` starts them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; alone, everything here does nothing."""

    rank: int = 0
    count: int = 1

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


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """The processes torchrun started, or this one alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()
