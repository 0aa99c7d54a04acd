"""Where training runs, and for how long."""

import contextlib
import math
import time
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from sa.runtime.errors import InputError, InterruptedRunError

GPU_BATCHES = 4  # times as many samples in a step as on a CPU: small batches leave a GPU waiting


class OutOfTime(InterruptedRunError):  # noqa: N818 - everything is saved
    """The time for training ended before the work did; the same command can resume it."""


@dataclass(frozen=True)
class Machine:
    """CUDA computes in bfloat16 where autocast does. A CPU computes in float32, unless asked, and repeats itself.

    Not run on a GPU.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seconds: float = math.inf
    compiles: bool = False
    bf16: bool = False  # on a CPU, too
    started: float = field(default_factory=time.monotonic)

    @staticmethod
    def open(
        device: str, threads: int, minutes: float | None = None, compiles: bool = False, bf16: bool = False
    ) -> "Machine":
        """InputError if there is no such device."""
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: PyTorch finds no CUDA device; take --device cpu.")
        torch.set_num_threads(threads)
        if device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        return Machine(torch.device(device), math.inf if minutes is None else 60 * minutes, compiles, bf16)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def on_cpu(self) -> "Machine":
        """For small networks that wait for their drawings anyway."""
        return replace(self, device=torch.device("cpu"))

    @property
    def batches(self) -> int:
        return GPU_BATCHES if self.on_gpu else 1

    @property
    def out_of_time(self) -> bool:
        return time.monotonic() - self.started >= self.seconds

    def require_time(self) -> None:
        """OutOfTime if there is none left."""
        if self.out_of_time:
            raise OutOfTime("the time is over, and what is done is kept; the same command goes on.")

    def mixed_precision(self) -> contextlib.AbstractContextManager:
        wanted = self.on_gpu or self.bf16
        return torch.autocast(self.device.type, torch.bfloat16) if wanted else contextlib.nullcontext()

    def compile(self, network: nn.Module) -> None:
        """Let PyTorch compile the network's forward and backward pass, if asked to; its parameters stay as they are."""
        if self.compiles:
            network.compile(dynamic=False)
