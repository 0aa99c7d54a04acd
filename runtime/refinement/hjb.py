"""The HJB face refinement: it moves denoised latents towards the reference's face (docs/model.md, section 8).

At some steps of the sampler, a few steps of Adam on the face loss improve the denoised latents. Engines compute the
gradient. Its sign matters more than its size: after K iterations, nearly every latent has moved by about K times the
learning rate.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sa.runtime.backends.base import Engine
from sa.runtime.refinement.crops import FACE_SIZE, crop_matrices
from sa.runtime.refinement.faces import FaceTargets
from sa.runtime.refinement.window import ChunkWindows
from sa.runtime.sampling.sampler import Denoiser

Region = Literal["face", "frame"]
GradientOf = Literal["window", "frame"]


@dataclass(frozen=True)
class RefineSettings:
    """Which steps are refined, how often and how far. The defaults are the published steps, iterations and rate."""

    start: int = 0  # the first step refined
    end: int = 20  # the last step refined, inclusive as published
    iterations: int = 3
    every: int = 1  # refine every Nth step from start to end
    rate: float = 0.1  # Adam's learning rate at step 0; falls linearly and reaches 0 after the last step
    tolerance: float | None = None  # stop a step's iterations once the loss falls by less than this share
    region: Region | None = None  # which latents move: the face's, or all, as published; None: the usual ones
    gradient: GradientOf | None = None  # of a window around the faces where they fit, or of the frame; None: the usual
    preset: str = "published"  # whose settings these are, but for those that were given by themselves

    def gradients(self, steps: int) -> int:
        """The most loss gradients that a run of `steps` steps computes."""
        return len(range(self.start, min(self.end, steps - 1) + 1, self.every)) * self.iterations

    def refines(self, step: int) -> bool:
        return self.start <= step <= self.end and (step - self.start) % self.every == 0


@dataclass
class RefinedStep:
    """The losses and gradient norms of one step, for run.json."""

    step: int
    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) on one array, float32."""

    def __init__(self, learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
        self.learning_rate, self.beta1, self.beta2, self.eps = learning_rate, beta1, beta2, eps
        self._steps = 0
        self._mean: np.ndarray | float = 0.0
        self._square: np.ndarray | float = 0.0

    def step(self, value: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The value after one more step. `value` and `gradient` are float32 and have one shape."""
        self._steps += 1
        self._mean = np.float32(self.beta1) * self._mean + np.float32(1 - self.beta1) * gradient
        self._square = np.float32(self.beta2) * self._square + np.float32(1 - self.beta2) * gradient * gradient
        rate = np.float32(self.learning_rate / (1 - self.beta1**self._steps))
        spread = np.sqrt(self._square) / np.float32(np.sqrt(1 - self.beta2**self._steps)) + np.float32(self.eps)
        return value - rate * self._mean / spread


class VideoLoss:
    """The face loss of a whole video and its gradient. Chunks are independent, so going chunk by chunk is exact."""

    def __init__(
        self,
        engine: Engine | None,
        targets: FaceTargets,
        embedding: np.ndarray,
        height: int,
        width: int,
        chunk: int,
        windows: ChunkWindows | None = None,
    ):
        """engine: computes a chunk's loss and gradient in the whole frame; None if all chunks have windows.

        embedding: [1, n], of the reference's face; chunk: frames decoded at once.
        """
        self.engine = engine
        self._chunk, self._windows = chunk, windows
        self.embedding = embedding
        count = sum(box is not None for box in targets.boxes)
        self.weights = np.array([0.0 if box is None else 1.0 / count for box in targets.boxes], np.float32)
        self._boxes, self._size = targets.boxes, (height, width)

    def __call__(self, latents: np.ndarray) -> tuple[float, np.ndarray]:
        """latents [1, T, 4, h, w] -> the mean of |1 - cos| over frames with a face, and its gradient, same shape."""
        loss, gradient = 0.0, np.zeros_like(latents)
        parts = [slice(start, start + self._chunk) for start in range(0, latents.shape[1], self._chunk)]
        # Without a face there is nothing to compute, and the gradient is zero.
        parts = [part for part in parts if self.weights[part].any()]
        whole = [part for part in parts if self._windows is None or part.start not in self._windows]
        losses: dict[int, float] = {}
        if whole:
            assert self.engine is not None, "a chunk without a window needs the gradient of the whole frame"
            results = self.engine.infer_each({"latents": latents[0, part], **self._face(part)} for part in whole)
            for part, result in zip(whole, results, strict=True):
                losses[part.start], gradient[0, part] = float(result["loss"][0]), result["gradient"]
        for part in parts:
            if self._windows is not None and part.start in self._windows:
                made = self._windows(part.start, latents[0, part], self._face(part))
                losses[part.start], gradient[0, part] = made
        for part in parts:  # added up in one order, whoever computed them
            loss += losses[part.start]
        return loss, gradient

    def begin_step(self) -> None:
        """Called before a step's iterations."""
        if self._windows is not None:
            self._windows.begin_step()

    def _face(self, part: slice) -> dict[str, np.ndarray]:
        """What the gradient of a chunk takes beside its latents."""
        rows, columns = self.crops(part)
        return {"rows": rows, "columns": columns, "reference": self.embedding, "weights": self.weights[part]}

    def crops(self, part: slice) -> list[np.ndarray]:
        """The crop matrices of a chunk. Those of a whole long video would take more memory than its latents."""
        height, width = self._size
        nowhere = np.zeros((FACE_SIZE, height), np.float32), np.zeros((FACE_SIZE, width), np.float32)
        matrices = [nowhere if box is None else crop_matrices(box, height, width) for box in self._boxes[part]]
        return [np.stack(axis) for axis in zip(*matrices, strict=True)]


class RefinedDenoiser:
    """A denoiser that refines its result at some of the steps."""

    def __init__(
        self,
        denoise: Denoiser,
        loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
        sigmas: np.ndarray,
        settings: RefineSettings,
        on_iteration: Callable[[RefinedStep], None] = lambda step: None,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
        region: np.ndarray | None = None,
    ):
        """loss: latents [1, T, 4, h, w] -> loss and gradient; sigmas: [steps + 1], the sampler's.

        before, after: called before and after a step's iterations, so that engines can make room for each other.
        region: [1, T, 1, h, w], the share of its step that each latent moves; None: all of it, everywhere.
        """
        self.denoise = denoise
        self.loss = loss
        self.settings = settings
        self.on_iteration = on_iteration
        self.before, self.after = before, after
        self.region = region
        self.steps: list[RefinedStep] = []
        self.saved = 0  # iterations skipped because of the tolerance
        self._step_of = {float(sigma): i for i, sigma in enumerate(sigmas[:-1])}

    def __call__(self, x: np.ndarray, sigma: float) -> np.ndarray:
        """x [1, T, 4, h, w] float32 at noise level sigma -> the denoised latents, same shape."""
        denoised = self.denoise(x, sigma)
        step = self._step_of[sigma]
        if not self.settings.refines(step):
            return denoised
        self.before()
        refined = self.refine(denoised, step)
        self.after()
        return refined

    def refine(self, latents: np.ndarray, step: int) -> np.ndarray:
        """One step's iterations on latents [1, T, 4, h, w]. Adam starts anew at every step."""
        adam = Adam(self.settings.rate * (1 - step / len(self._step_of)))
        record = RefinedStep(step)
        self.steps.append(record)
        for i in range(self.settings.iterations):
            loss, gradient = self.loss(latents)
            record.losses.append(loss)
            record.gradient_norms.append(float(np.linalg.norm(gradient.astype(np.float64))))
            self.on_iteration(record)
            if self._converged(record.losses):
                self.saved += self.settings.iterations - 1 - i
                break
            moved = adam.step(latents, gradient)
            latents = moved if self.region is None else latents + self.region * (moved - latents)
        return latents

    def _converged(self, losses: list[float]) -> bool:
        tolerance = self.settings.tolerance
        return tolerance is not None and len(losses) > 1 and losses[-2] - losses[-1] < tolerance * losses[-2]
