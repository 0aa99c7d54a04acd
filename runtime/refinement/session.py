"""Face refinement during a run: engines, the reference's embedding, progress, and the entry in run.json."""

import time
from collections.abc import Callable

import numpy as np

from sa.runtime.backends.base import Engine
from sa.runtime.backends.video_unet import VideoUNet
from sa.runtime.engine_set.memory_plan import refinement_bytes
from sa.runtime.engine_set.open import EngineSource
from sa.runtime.refinement.crops import Box
from sa.runtime.refinement.faces import FaceTargets
from sa.runtime.refinement.hjb import RefinedDenoiser, RefinedStep, RefineSettings, VideoLoss
from sa.runtime.refinement.region import face_region
from sa.runtime.sampling.sampler import Denoiser
from sa.runtime.system.memory import resident_memory


class Refinement:
    """The refinement of one run. It holds engines: use it as a context manager."""

    def __init__(self, engines: EngineSource, gradient: Engine, loss: VideoLoss, boxes: list[Box | None], before: int):
        self.plan = engines.manifest.refinement
        self._on_cpu = engines.device == "cpu"
        self._predicted = refinement_bytes(engines.manifest, engines.device, engines.low_memory)
        self._gradient = gradient
        self._loss = loss
        self._boxes, self._size = boxes, (engines.manifest.shapes.height, engines.manifest.shapes.width)
        self._before = before
        self._peak = before
        self.denoiser: RefinedDenoiser

    @classmethod
    def open(cls, engines: EngineSource, targets: FaceTargets) -> "Refinement":
        """Embed the reference's face and open the engines of the loss gradient."""
        shapes = engines.manifest.shapes
        before = resident_memory()
        with engines.open_single("arcface") as arcface:
            embedding = arcface.infer({"face": targets.reference})["embedding"]
        gradient = engines.open_loss_gradient()
        loss = VideoLoss(gradient, targets, embedding, shapes.height, shapes.width)
        return cls(engines, gradient, loss, targets.boxes, before)

    def wrap(
        self,
        denoise: Denoiser,
        unet: VideoUNet,
        sigmas: np.ndarray,
        settings: RefineSettings,
        on_iteration: Callable[[RefinedStep, float], None],
    ) -> RefinedDenoiser:
        """`denoise` with refinement. `on_iteration(step, seconds)` is called after each gradient.

        unet: the denoiser's. It is unloaded before a step is refined, the gradient's engines after it.
        """
        seconds = 0.0

        def loss(latents: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal seconds
            started = time.perf_counter()
            result = self._loss(latents)
            seconds = time.perf_counter() - started
            self._peak = max(self._peak, resident_memory(), getattr(self._gradient, "peak_resident", 0))
            return result

        self.denoiser = RefinedDenoiser(
            denoise,
            loss,
            sigmas,
            settings,
            lambda step: on_iteration(step, seconds),
            before=unet.unload,
            after=self._gradient.unload,
            region=None if settings.region == "frame" else face_region(self._boxes, *self._size),
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
