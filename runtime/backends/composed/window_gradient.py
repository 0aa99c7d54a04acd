"""The gradient of the face loss in a window of the frame (docs/refinement.md).

The decoder's first segments run on the whole frame. What they give is cut to the window, where the other segments and
the face loss follow. Their norms take the statistics of the whole frame, which engines of the whole frame find once for
a refined step.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from sa.runtime.backends.base import Engine, Tensor, as_array
from sa.runtime.backends.composed.segment_chain import Norms, SegmentChain
from sa.runtime.contract import WINDOW_LOSS, Manifest, Role, norms_roles
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
        self._peak = 0
        with ExitStack() as opened:

            def loaded(role: Role) -> Engine:
                return opened.enter_context(open_engine(role))

            self._whole = SegmentChain(plan.segments[: plan.window.whole], loaded)
            self._part = SegmentChain(plan.window.segments, loaded)
            rest = plan.segments[plan.window.whole :]
            self._finders = [loaded(role) for role in norms_roles(plan.window.segments, rest)]
            self._loss = loaded(WINDOW_LOSS)
            self._opened = opened.pop_all()
        self._cut = manifest.engine(plan.segments[plan.window.whole - 1].forward).outputs[0]
        release_freed()

    @property
    def peak_resident(self) -> int:
        """Bytes of the process, the most seen between engine calls."""
        return max(self._peak, self._whole.peak_resident, self._part.peak_resident)

    def norms(self, latents: np.ndarray) -> Norms:
        """What each norm does in the whole frame: of a chunk's latents [F, 4, h, w], by segment of the window."""
        found: dict[int, np.ndarray] = {}
        x: Tensor = self._whole.forward(latents)[0]
        segments = self._plan.segments[: len(self._finders)]
        for by_frame, numbered in groupby(enumerate(segments), key=lambda one: one[1].by_frame):
            # A frame goes through all segments of its group, so that what lies between them exists for it alone.
            x = self._through([i for i, _ in numbered], x, 1 if by_frame else len(x), found)
        return found

    def _through(self, group: list[int], x: Tensor, step: int, found: dict[int, np.ndarray]) -> Tensor:
        """The last of these segments' result for all frames of x, `step` frames at a time; norms go to `found`."""
        frames, last = len(x), self._finders[group[-1]]
        result = last.empty((frames, *last.contract.outputs[0].largest[1:]))
        for first in range(0, frames, step):
            part, y = slice(first, first + step), x[first : first + step]
            for i in group:
                engine = self._finders[i]
                given, (spec, *norms) = {"x": y}, engine.contract.outputs
                y = result[part] if engine is last else engine.empty((step, *spec.largest[1:]))
                outputs = {spec.name: y}
                for table in norms:
                    count = frames if step == 1 else 1
                    found.setdefault(i, np.empty((count, *table.largest[1:]), np.float32))
                    outputs[table.name] = found[i][part]
                engine.infer_into(given, outputs)
                self._peak = max(self._peak, resident_memory())
        for i in group:
            self._finders[i].unload()
        return result

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
        return np.empty((len(latents), *self._cut.largest[1:]), np.float32)

    def unload(self) -> None:
        for chain in (self._whole, self._part):
            chain.unload()
        for engine in (*self._finders, self._loss):
            engine.unload()

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> "WindowGradient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
