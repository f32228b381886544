"""`python -m ml.compiling RELEASE DEVICE BATCH THREADS PACKAGE PARENT`: compile a release's network ahead of time.

Run by `ml.backends.compiled`. The package appears under its name only after it was loaded and has given finite
logits here: code that would end its process does so in this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from ml.backends import number_format, picture_size
from ml.predictor import Predictor

NICENESS = 10
PR_SET_PDEATHSIG = 1


class Cast(nn.Module):
    """The network under the number format the program is to have."""

    def __init__(self, net: nn.Module, device: str, low: bool) -> None:
        super().__init__()
        self.net, self.device, self.low = net, device, low

    def forward(self, pictures: Tensor) -> Tensor:
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.low):
            logits: Tensor = self.net(pictures)
            return logits.float()


def compile_release(release: Path, device: str, batch: int, package: Path) -> None:
    predictor = Predictor.load(release, device)
    side = picture_size(predictor)
    place = predictor.engine.device
    pictures = torch.zeros(batch, 3, side, side, device=place).contiguous(memory_format=torch.channels_last)
    partial = package.with_name(f"{package.stem}.partial.pt2")
    network = Cast(predictor.net, place.type, number_format(predictor) == "bf16").eval()
    with torch.no_grad():
        program = torch.export.export(network, (pictures,))
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(partial), inductor_configs={"freezing": True}
        )
        if not bool(torch.isfinite(torch._inductor.aoti_load_package(str(partial))(pictures)).all()):
            raise SystemExit("the compiled program's answers are not numbers")
    os.replace(partial, package)


def end_with(parent: int) -> None:
    """Nobody waits for what is made here once the worker that asked for it is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def die_with_parent() -> None:
    """The same without waiting for a turn: the compiler may keep every thread of this process busy for minutes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    release, device, batch, threads, package, parent = sys.argv[1:]
    die_with_parent()
    if os.getppid() != int(parent):
        raise SystemExit("whoever asked for this is gone")  # while torch was being loaded
    threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    torch.set_num_threads(int(threads))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = scratch
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        compile_release(Path(release), device, int(batch), Path(package))


if __name__ == "__main__":
    main()
