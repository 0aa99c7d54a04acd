"""Face refinement during a run: engines, the reference's embedding, progress, and the entry in run.json."""

from collections.abc import Callable

import numpy as np

from sa.runtime.backends.base import Engine
from sa.runtime.console.progress import Reporter
from sa.runtime.engine_set.memory_plan import refinement_bytes
from sa.runtime.engine_set.open import EngineSource
from sa.runtime.refinement.faces import FaceTargets
from sa.runtime.refinement.hjb import RefinedDenoiser, RefinedStep, RefineSettings, VideoLoss
from sa.runtime.sampling.sampler import Denoiser
from sa.runtime.system.memory import resident_memory


class Refinement:
    """The refinement of one run. It holds engines: use it as a context manager."""

    def __init__(self, engines: EngineSource, gradient: Engine, loss: VideoLoss, before: int):
        self.plan = engines.manifest.refinement
        self._on_cpu = engines.device == "cpu"
        self._predicted = refinement_bytes(engines.manifest, engines.device, engines.low_memory)
        self._gradient = gradient
        self._loss = loss
        self._before = before
        self._peak = before
        self.denoiser: RefinedDenoiser

    @classmethod
    def open(cls, engines: EngineSource, targets: FaceTargets) -> "Refinement":
        """Embed the reference's face and open the engines of the loss gradient."""
        shapes = engines.manifest.shapes
        before = resident_memory()
        with engines.open_engine("arcface") as arcface:
            embedding = arcface.infer({"face": targets.reference})["embedding"]
        gradient = engines.open_loss_gradient()
        loss = VideoLoss(gradient, targets, embedding, shapes.height, shapes.width)
        return cls(engines, gradient, loss, before)

    def wrap(
        self,
        denoise: Denoiser,
        unet: Engine,
        sigmas: np.ndarray,
        settings: RefineSettings,
        reporter: Reporter,
        advance: Callable[[str], None],
    ) -> RefinedDenoiser:
        """`denoise` with refinement. Each gradient calls `advance` and is timed as the stage "refinement".

        unet: the denoiser's engine. It is unloaded before a step is refined, the gradient's engines after it.
        """

        def loss(latents: np.ndarray) -> tuple[float, np.ndarray]:
            with reporter.timed("refinement"):
                result = self._loss(latents)
            self._peak = max(self._peak, resident_memory(), getattr(self._gradient, "peak_resident", 0))
            return result

        def on_iteration(step: RefinedStep) -> None:
            advance(
                f"step {step.step + 1}/{len(sigmas) - 1}, face loss {step.losses[-1]:.4f}, "
                f"gradient {step.gradient_norms[-1]:.2e}"
            )

        self.denoiser = RefinedDenoiser(
            denoise, loss, sigmas, settings, on_iteration, before=unet.unload, after=self._gradient.unload
        )
        return self.denoiser

    def report(self) -> dict:
        """The entry `refinement` of run.json. Bytes are measured on a CPU only."""
        return {
            "plan": self.plan.plan,
            "predicted_bytes": self._predicted,
            "measured_bytes": self._peak - self._before if self._on_cpu else None,
            "iterations_saved": self.denoiser.saved,
        }

    def __enter__(self) -> "Refinement":
        return self

    def __exit__(self, *error: object) -> None:
        self._gradient.close()
