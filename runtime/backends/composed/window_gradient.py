"""The gradient of the face loss in a window of the frame (docs/refinement.md).

The decoder's first segments run on the whole frame. What they give is cut to the window, where the other segments and
the face loss follow. Their norms take the statistics of the whole frame, which one engine finds for a refined step.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from sa.runtime.backends.base import Engine, as_array
from sa.runtime.backends.composed.segment_chain import Norms, SegmentChain
from sa.runtime.contract import NORMS, WINDOW_LOSS, Manifest, Role
from sa.runtime.system.memory import release_freed, resident_memory

PIXELS = 8  # a latent, along each side


@dataclass(frozen=True)
class Window:
    """A square part of the frame, in pixels. Its ends lie between latents."""

    top: int
    left: int
    size: int

    @property
    def latents(self) -> tuple[slice, slice]:
        """The latents under it: rows and columns."""
        count, top, left = self.size // PIXELS, self.top // PIXELS, self.left // PIXELS
        return slice(top, top + count), slice(left, left + count)


class WindowGradient:
    """Engines for a chunk's loss gradient in a window. It holds engines: close it, or use it as a context manager."""

    def __init__(self, manifest: Manifest, open_engine: Callable[[Role], Engine]):
        plan = manifest.refinement
        if plan.window is None:
            raise ValueError("an engine set without a window")
        self._plan = plan.window
        self._contracts = {role: manifest.engine(role) for role in manifest.window_roles}
        self._peak = 0
        with ExitStack() as opened:

            def loaded(role: Role) -> Engine:
                return opened.enter_context(open_engine(role))

            self._whole = SegmentChain(plan.segments[: plan.window.whole], loaded)
            self._part = SegmentChain(plan.window.segments, loaded)
            self._norms, self._loss = loaded(NORMS), loaded(WINDOW_LOSS)
            self._opened = opened.pop_all()
        release_freed()

    @property
    def chunk(self) -> int:
        """The most frames of a call."""
        return self._contracts[WINDOW_LOSS].inputs[0].largest[0]

    @property
    def peak_resident(self) -> int:
        """Bytes of the process, the most seen between engine calls."""
        return max(self._peak, self._whole.peak_resident, self._part.peak_resident)

    def norms(self, latents: np.ndarray) -> Norms:
        """What each norm does in the whole frame: of a chunk's latents [F, 4, h, w], by segment of the window."""
        features = self._features(latents)
        self._whole.forward(latents, out=features)
        found = self._norms.infer({"x": features})
        self._peak = max(self._peak, resident_memory())
        self._norms.unload()
        release_freed()
        norms, taken = {}, {True: 0, False: 0}
        for i, segment in enumerate(self._plan.segments):
            wanted = [spec for spec in self._contracts[segment.forward].inputs if spec.name == "norms"]
            for spec in wanted:
                first = taken[segment.by_frame]
                taken[segment.by_frame] = last = first + spec.largest[1]
                of = found["by_frame" if segment.by_frame else "over_time"]
                norms[i] = np.ascontiguousarray(of[:, first:last])
        return norms

    def gradient(
        self, latents: np.ndarray, window: Window, norms: Norms, face: Mapping[str, np.ndarray]
    ) -> tuple[float, np.ndarray]:
        """A chunk's loss and its gradient, shaped like the latents [F, 4, h, w].

        face: rows, columns [F, 112, size], which crop the window's frames, reference and weights as in the full plan.
        """
        features = self._features(latents)
        _, before = self._whole.forward(latents, out=features)
        down, across = window.latents
        frames, way = self._part.forward(np.ascontiguousarray(features[:, :, down, across]), norms)
        ends = self._loss.infer({"frames": frames, **face}, keep=("gradient",))
        self._loss.unload()
        del frames
        inside = np.empty((*features.shape[:2], *(window.size // PIXELS,) * 2), np.float32)
        way.back(ends["gradient"], inside)
        features[:] = 0
        features[:, :, down, across] = inside
        gradient = np.empty(latents.shape, np.float32)
        before.back(features, gradient)
        return float(as_array(ends["loss"])[0]), gradient

    def _features(self, latents: np.ndarray) -> np.ndarray:
        """An array for what goes into the window, of the whole frame. The window is cut out on the host."""
        return np.empty((len(latents), *self._contracts[NORMS].inputs[0].largest[1:]), np.float32)

    def unload(self) -> None:
        for part in (self._whole, self._part, self._norms, self._loss):
            part.unload()

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> "WindowGradient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
