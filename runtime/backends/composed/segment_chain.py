"""A chain of the decoder's segments, forward and back: engines x -> y and their VJPs.

The chain keeps the tensors between segments, and goes back through one VJP engine per segment, which recomputes the
activations. This bounds the memory. Segments that treat frames independently run frame by frame. Tensors between
engines stay with the engines: arrays on a CPU, handles to device memory on a GPU.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.contract import Role, Segment
from sa.runtime.system.memory import resident_memory

Norms = Mapping[int, np.ndarray]  # by segment, what its norms do: [F, n] of segments by frame, [1, n] of the others


class SegmentChain:
    """Some of the decoder's segments that follow each other."""

    def __init__(self, segments: Sequence[Segment], loaded: Callable[[Role], Engine]):
        """loaded: opens an engine, which whoever gave it closes."""
        self.segments = segments
        self.peak_resident = resident_memory()  # bytes; the most seen between engine calls
        self._forward = [loaded(segment.forward) for segment in segments]
        self._vjp = [loaded(segment.vjp) for segment in segments]

    def forward(self, x: Tensor, norms: Norms | None = None, out: Tensor | None = None) -> tuple[Tensor, "Pass"]:
        """The last segment's result, in `out` if given, and what the way back needs.

        norms: for segments that take them.
        """
        kept = {0: x}
        for i, segment in enumerate(self.segments):
            x = self._step(i, x, norms, out if i + 1 == len(self.segments) else None)
            if segment.keep:
                kept[i + 1] = x
        kept.pop(len(self.segments), None)
        return x, Pass(self, kept, norms)

    def back(self, kept: dict[int, Tensor], dy: Tensor, norms: Norms | None, out: Tensor) -> None:
        """The gradient with respect to the first segment's input, into `out`. `kept` is used up."""
        for i in reversed(range(len(self.segments))):
            self._recompute(kept, i, norms)
            given = {"x": kept.pop(i), "dy": dy, **_of(norms, i)}
            dy = self._run(self._vjp[i], self.segments[i].by_frame, given, out if i == 0 else None)

    def _recompute(self, kept: dict[int, Tensor], i: int, norms: Norms | None) -> None:
        """Make sure that `kept` has the input of segment i, and compute earlier inputs if that needs them."""
        if i not in kept:
            self._recompute(kept, i - 1, norms)
            kept[i] = self._step(i - 1, kept[i - 1], norms)

    def _step(self, i: int, x: Tensor, norms: Norms | None, out: Tensor | None = None) -> Tensor:
        return self._run(self._forward[i], self.segments[i].by_frame, {"x": x, **_of(norms, i)}, out)

    def _run(self, engine: Engine, by_frame: bool, inputs: Mapping[str, Tensor], out: Tensor | None = None) -> Tensor:
        """The engine's output for all frames, written to `out` if given."""
        frames = len(inputs["x"])
        (spec,) = engine.contract.outputs
        if out is None:
            out = engine.empty((frames, *spec.largest[1:]))
        step = 1 if by_frame else frames
        for i in range(0, frames, step):
            part = slice(i, i + step)
            engine.infer_into({name: value[part] for name, value in inputs.items()}, {spec.name: out[part]})
            self.peak_resident = max(self.peak_resident, resident_memory())
        engine.unload()
        return out

    def unload(self) -> None:
        for engine in (*self._forward, *self._vjp):
            engine.unload()


class Pass:
    """One way through a chain, of which the way back can be gone once."""

    def __init__(self, chain: SegmentChain, kept: dict[int, Tensor], norms: Norms | None):
        self._chain, self._kept, self._norms = chain, kept, norms

    def back(self, dy: Tensor, out: Tensor) -> None:
        """dy: the cotangent of the result; the gradient with respect to the chain's input goes into `out`."""
        self._chain.back(self._kept, dy, self._norms, out)


def _of(norms: Norms | None, i: int) -> dict[str, Tensor]:
    return {"norms": norms[i]} if norms is not None and i in norms else {}
