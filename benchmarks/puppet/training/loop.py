"""One stage of training: steps, a log, sample sheets, and states on disk from which it resumes.

Every step draws its batch and its noise from its own random stream, so a stage that was interrupted and resumed
computes the same as one that was not. A stage without a last step goes on until its time is over, and can be
resumed for longer: neither its learning rate nor its average looks ahead to an end.
"""

import contextlib
import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sa.benchmarks.puppet.training.machine import Machine
from sa.benchmarks.puppet.training.optimizer import Muon
from sa.runtime.errors import InputError

STATE, BEST, LOG = "state.pt", "best.pt", "log.csv"
LOG_EVERY = 25  # steps
SAVE_EVERY = 180.0  # seconds
EMA_DECAY, EMA_POWER = 0.9995, 16.0
CLIP_NORM = 1.0

Loss = Callable[[np.random.Generator], torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to `peak`. With `steps`, half a cosine down to a twentieth of it.

    Without, it stays at `peak` until step `settle`, and then falls with the square root of the step.
    """

    peak: float
    steps: int | None = None
    warm_up: int = 100
    settle: int = 1000

    def rate(self, step: int) -> float:
        rising = min(1.0, (step + 1) / self.warm_up)
        if self.steps is None:
            return self.peak * rising * min(1.0, self.settle / (step + 1)) ** 0.5
        done = min(1.0, step / self.steps)
        return self.peak * rising * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


class Stage:
    """Trains `network` in place; afterwards it holds the moving average of its weights, frozen."""

    def __init__(
        self,
        folder: Path,
        network: nn.Module,
        schedule: Schedule,
        seed: int,
        machine: Machine,
        check_every: int = 250,
        best: str | None = None,
    ):
        """`best` names what `check` measures and a lower or, for "psnr", a higher value of means better weights."""
        self.folder = folder
        self.network = network
        self.schedule = schedule
        self.seed = seed
        self.machine = machine
        self.check_every = check_every
        self.trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.optimizer = Muon(self.trained.values(), lr=schedule.peak)
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.step = 0
        self.seconds = 0.0
        self._losses: list[torch.Tensor] = []
        self._best, self._record = best, math.inf

    @property
    def ended(self) -> bool:
        return self.schedule.steps is not None and self.step >= self.schedule.steps

    def run(self, loss: Loss, check: Callable[[], dict[str, float]], show: Callable[[Path], None]) -> nn.Module:
        """Train from the saved state, if there is one, to the end of the schedule; returns the network.

        `loss` takes one step's random stream. `check` measures the network on held-out puppets and `show` draws a
        sheet; both see the moving average of the weights. When the machine's time is over, everything is checked,
        logged and saved, and OutOfTime is raised, except by a stage whose schedule has no end: it returns.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        started = time.monotonic() - self.seconds
        saved = time.monotonic()
        stops = self.ended
        while not stops:
            self._update(loss)
            self.seconds = time.monotonic() - started
            stops = self.ended or self.machine.out_of_time
            checks = stops or self.step % self.check_every == 0
            if not checks and self.step % LOG_EVERY:
                continue
            measured = self._measure(check, show) if checks else {}
            self._log(measured)
            if checks:
                self._keep_best(measured)
            if checks or time.monotonic() - saved > SAVE_EVERY:
                self._save()
                saved = time.monotonic()
        if self.schedule.steps is not None and not self.ended:
            self.machine.require_time()
        self.network.load_state_dict(self.average)
        return self.network.eval().requires_grad_(False)

    def _update(self, loss: Loss) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.network.train()
        value = loss(np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, self.step]))))
        self.optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_([p for p in self.trained.values() if p.grad is not None], CLIP_NORM)
        self.optimizer.step()
        self.step += 1
        self._losses.append(value.detach())
        self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights.

        Its memory is a fixed share of the steps so far (Karras et al. 2024, "Analyzing and improving the training
        dynamics of diffusion models", section 3.1), up to a limit.
        """
        decay = min(EMA_DECAY, (1 - 1 / (self.step + 1)) ** (EMA_POWER + 1))
        state = self.network.state_dict()
        floats = [name for name, value in state.items() if value.dtype.is_floating_point]
        torch._foreach_lerp_([self.average[name] for name in floats], [state[name] for name in floats], 1 - decay)
        for name in state.keys() - floats:
            self.average[name].copy_(state[name])

    def _measure(self, check: Callable[[], dict[str, float]], show: Callable[[Path], None]) -> dict[str, float]:
        with self._averaged():
            measured = check()
            show(self.folder / f"sheet-{self.step:06}.png")
        return measured

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within the block the network holds the average weights and is in evaluation mode."""
        current = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        with torch.no_grad():
            yield
        self.network.load_state_dict(current)

    def _save(self) -> None:
        """The file is there whole or not at all, so the process can be ended at any moment."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "record": self._record,
        }
        _write(self.folder / STATE, state)

    def _keep_best(self, measured: dict[str, float]) -> None:
        if self._best is None:
            return
        value = -measured[self._best] if self._best == "psnr" else measured[self._best]
        if value < self._record:
            self._record = value
            _write(self.folder / BEST, self.average)

    def _resume(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            (self.folder / LOG).unlink(missing_ok=True)
            return
        state = torch.load(path, weights_only=True, map_location=self.machine.device)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self._losses = []
        self._record = state["record"]
        rows = [row for row in _read_log(self.folder / LOG) if int(row["step"]) <= self.step]
        _write_log(self.folder / LOG, rows)

    def _log(self, measured: dict[str, float]) -> None:
        """Write a row. Nothing is saved but after this, so no saved weights come of a loss that is not finite."""
        loss = float(torch.stack([value.cpu() for value in self._losses]).mean())
        self._losses.clear()
        if not math.isfinite(loss):
            raise InputError(
                f"{self.folder}: the loss before step {self.step} is {loss}; lower the learning rate and start again "
                "from the saved state, which is older."
            )
        row = {"step": self.step, "seconds": round(self.seconds, 1), "loss": loss, **measured}
        shown = "  ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
        )
        print(f"{self.folder.name}: {shown}", flush=True)
        path = self.folder / LOG
        _write_log(path, [*(_read_log(path) if path.exists() else []), row])


def best_of(folder: Path) -> dict[str, torch.Tensor] | None:
    """The best average weights that a stage has kept, or None if it has none yet."""
    path = folder / BEST
    return torch.load(path, weights_only=True, map_location="cpu") if path.exists() else None


def _write(path: Path, value: dict) -> None:
    partial = path.with_name(f"{path.name}.partial")
    torch.save(value, partial)
    os.replace(partial, path)


def _read_log(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write_log(path: Path, rows: list[dict]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
