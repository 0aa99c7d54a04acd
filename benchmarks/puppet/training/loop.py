"""One stage of training: steps, a log, sample sheets, and states on disk from which it resumes.

Every step draws its batch and its noise from its own random stream, so a stage that was interrupted and resumed
computes the same as one that was not.
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

from sa.benchmarks.puppet.training.optimizer import Muon
from sa.runtime.errors import InputError

STATE, LOG = "state.pt", "log.csv"
LOG_EVERY = 25  # steps
EMA_DECAY = 0.999
CLIP_NORM = 1.0

Loss = Callable[[np.random.Generator], torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to `peak`, then half a cosine down to a twentieth of it."""

    steps: int
    peak: float
    warm_up: int = 100

    def rate(self, step: int) -> float:
        rising = min(1.0, (step + 1) / self.warm_up)
        done = min(1.0, step / self.steps)
        return self.peak * rising * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


class Stage:
    """Trains `network` in place; afterwards it holds the moving average of its weights, frozen."""

    def __init__(self, folder: Path, network: nn.Module, schedule: Schedule, seed: int, check_every: int = 250):
        self.folder = folder
        self.network = network
        self.schedule = schedule
        self.seed = seed
        self.check_every = check_every
        self.trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.optimizer = Muon(self.trained.values(), lr=schedule.peak)
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.step = 0
        self.seconds = 0.0

    def run(self, loss: Loss, check: Callable[[], dict[str, float]], show: Callable[[Path], None]) -> nn.Module:
        """Train to the end of the schedule, from the saved state if there is one; returns the network.

        `loss` takes one step's random stream. `check` measures the network on held-out puppets and `show` draws a
        sheet; both see the moving average of the weights.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        losses: list[float] = []
        started = time.perf_counter() - self.seconds
        while self.step < self.schedule.steps:
            losses.append(self._update(loss))
            self.seconds = time.perf_counter() - started
            at_end = self.step == self.schedule.steps
            if self.step % LOG_EVERY and not at_end:
                continue
            row = {"step": self.step, "seconds": round(self.seconds, 1), "loss": float(np.mean(losses))}
            losses.clear()
            if self.step % self.check_every and not at_end:
                self._log(row)
                continue
            with self._averaged():
                self._log(row | check())
                show(self.folder / f"sheet-{self.step:06}.png")
            self._save()
        self.network.load_state_dict(self.average)
        return self.network.eval().requires_grad_(False)

    def _update(self, loss: Loss) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.network.train()
        value = loss(np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, self.step]))))
        if not torch.isfinite(value):
            raise InputError(f"{self.folder}: the loss of step {self.step} is {value.item()}; lower the learning rate.")
        self.optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(self.trained.values(), CLIP_NORM)
        self.optimizer.step()
        self.step += 1
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, current in self.network.state_dict().items():
                if current.dtype.is_floating_point:
                    self.average[name].lerp_(current, 1 - decay)
                else:
                    self.average[name].copy_(current)
        return value.item()

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
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.folder / f"{STATE}.partial"
        torch.save(state, partial)
        os.replace(partial, self.folder / STATE)

    def _resume(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            (self.folder / LOG).unlink(missing_ok=True)
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        rows = [row for row in _read_log(self.folder / LOG) if int(row["step"]) <= self.step]
        _write_log(self.folder / LOG, rows)

    def _log(self, row: dict[str, float]) -> None:
        shown = "  ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
        )
        print(f"{self.folder.name}: {shown}", flush=True)
        path = self.folder / LOG
        _write_log(path, [*(_read_log(path) if path.exists() else []), row])


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
