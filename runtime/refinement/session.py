"""Face refinement during a run: engines, the reference's embedding, progress, and the entry in run.json."""

import time
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from sa.runtime.backends.base import Engine
from sa.runtime.backends.composed.window_gradient import WindowGradient
from sa.runtime.backends.video_unet import VideoUNet
from sa.runtime.engine_set.memory_plan import refinement_bytes
from sa.runtime.engine_set.open import EngineSource
from sa.runtime.refinement.faces import FaceTargets
from sa.runtime.refinement.hjb import RefinedDenoiser, RefinedStep, RefineSettings, VideoLoss
from sa.runtime.refinement.region import face_region
from sa.runtime.refinement.window import ChunkWindows, Places
from sa.runtime.sampling.sampler import Denoiser
from sa.runtime.system.memory import resident_memory


class Refinement:
    """The refinement of one run. It holds engines: use it as a context manager."""

    def __init__(self, engines: EngineSource, targets: FaceTargets, places: Places):
        """Embed the reference's face and open the engines of the loss gradient that the chunks' places need."""
        self._manifest, self._places, self._boxes = engines.manifest, places, targets.boxes
        shapes = engines.manifest.shapes
        self._size = shapes.height, shapes.width
        self._on_cpu = engines.device == "cpu"
        full, window = bool(places.full), bool(places.windows)
        self._predicted = refinement_bytes(engines.manifest, engines.device, engines.low_memory, full, window)
        self._before = self._peak = resident_memory()
        with engines.open_single("arcface") as arcface:
            embedding = arcface.infer({"face": targets.reference})["embedding"]
        self._gradients: list[Engine | WindowGradient] = []
        with ExitStack() as opened:
            frame = opened.enter_context(engines.open_loss_gradient()) if full else None
            part = opened.enter_context(engines.open_window_gradient()) if window else None
            self._gradients = [one for one in (frame, part) if one is not None]
            self._opened = opened.pop_all()
        windows = ChunkWindows(part, places.windows) if part is not None else None
        self._loss = VideoLoss(frame, targets, embedding, *self._size, shapes.decode_chunk, windows)
        self.denoiser: RefinedDenoiser

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
            seen = [getattr(one, "peak_resident", 0) for one in self._gradients]
            self._peak = max(self._peak, resident_memory(), *seen)
            return result

        def before() -> None:
            unet.unload()
            self._loss.begin_step()

        def after() -> None:
            for one in self._gradients:
                one.unload()

        self.denoiser = RefinedDenoiser(
            denoise,
            loss,
            sigmas,
            settings,
            lambda step: on_iteration(step, seconds),
            before=before,
            after=after,
            region=None if settings.region == "frame" else face_region(self._boxes, *self._size),
        )
        return self.denoiser

    def report(self) -> dict:
        """The entry `refinement` of run.json. Bytes are measured on a CPU only."""
        plan = self._manifest.refinement
        return {
            "plan": plan.plan,
            "window": plan.window.size if plan.window is not None and self._places.windows else None,
            "window_chunks": len(self._places.windows),
            "frame_chunks": len(self._places.full),
            "predicted_bytes": self._predicted,
            "measured_bytes": self._peak - self._before if self._on_cpu else None,
            "iterations_saved": self.denoiser.saved,
        }

    def __enter__(self) -> "Refinement":
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()
