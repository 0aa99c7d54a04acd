"""The gradient of the face loss with respect to latents, on engines: VAE decoder, crop, ArcFace .

The loss is that of docs/model.md, section 8. There are two plans. `whole` is one engine. `segmented` runs the decoder
segment by segment, keeps the tensors between segments, and goes back through one VJP engine per segment, which
recomputes the activations. This bounds the memory. Segments that treat frames independently run frame by frame.
Tensors between engines stay with the engines: arrays on a CPU, handles to device memory on a GPU.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack

import numpy as np

from sa.runtime.backends.base import Engine, Interface, Tensor
from sa.runtime.contract import EngineContract, Manifest, Role, Signature, TensorSpec
from sa.runtime.system.memory import release_freed, resident_memory


def loss_signature(first: EngineContract, face_loss: EngineContract) -> Signature:
    """The inputs and outputs of a chunk's loss gradient in both plans. `first` is the engine that takes latents.

    latents [F, 4, h, w] as the sampler holds them; rows [F, 112, H] and columns [F, 112, W]; reference [1, n]; weights
    [F] -> loss [1], the sum of weight * |1 - cos|, and gradient [F, 4, h, w]. F is 1 to the decoder's chunk.
    """
    (x,) = first.inputs
    chunk = face_loss.inputs[0].shape[0]
    latents = TensorSpec(name="latents", shape=(chunk, *x.shape[1:]))
    gradient = latents.model_copy(update={"name": "gradient"})
    return Signature("loss_gradient", (latents, *face_loss.inputs[1:]), (face_loss.outputs[0], gradient))


def loss_gradient_contract(manifest: Manifest) -> Interface:
    """The signature of a set's loss gradient, by whichever plan."""
    plan = manifest.refinement
    if plan.plan == "whole":
        return manifest.engine("loss_gradient")
    return loss_signature(manifest.engine(plan.segments[0].forward), manifest.engine("face_loss"))


class SegmentedLossGradient(Engine):
    """The plan `segmented`: one engine and one VJP engine per segment of the decoder."""

    def __init__(self, manifest: Manifest, open_engine: Callable[[Role], Engine]):
        segments = manifest.refinement.segments
        super().__init__(loss_signature(manifest.engine(segments[0].forward), manifest.engine("face_loss")))
        self.segments = segments
        self.peak_resident = resident_memory()  # bytes; the most seen between engine calls
        with ExitStack() as opened:

            def loaded(role: Role) -> Engine:
                return opened.enter_context(open_engine(role))

            self._forward = [loaded(segment.forward) for segment in segments]
            self._vjp = [loaded(segment.vjp) for segment in segments]
            self._face_loss = loaded("face_loss")
            self._opened = opened.pop_all()
        release_freed()

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        # kept[i] is the input of segment i.
        kept, x = {0: inputs["latents"]}, inputs["latents"]
        for i, segment in enumerate(self.segments):
            x = self._run(self._forward[i], segment.by_frame, {"x": x})
            if segment.keep:
                kept[i + 1] = x
        kept.pop(len(self.segments), None)
        face = {name: value for name, value in inputs.items() if name != "latents"}
        ends = self._face_loss.infer({"frames": x, **face}, keep=("gradient",))
        self._face_loss.unload()
        dy = ends["gradient"]
        del x
        for i in reversed(range(1, len(self.segments))):
            self._recompute(kept, i)
            dy = self._run(self._vjp[i], self.segments[i].by_frame, {"x": kept.pop(i), "dy": dy})
        gradient = np.empty(inputs["latents"].shape, np.float32)  # an array: Adam runs on the host
        self._run(self._vjp[0], self.segments[0].by_frame, {"x": kept.pop(0), "dy": dy}, gradient)
        return {"loss": ends["loss"], "gradient": gradient}

    def _recompute(self, kept: dict[int, Tensor], i: int) -> None:
        """Make sure that `kept` has the input of segment i, and compute earlier inputs if that needs them."""
        if i not in kept:
            self._recompute(kept, i - 1)
            kept[i] = self._run(self._forward[i - 1], self.segments[i - 1].by_frame, {"x": kept[i - 1]})

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
        for engine in (*self._forward, *self._vjp, self._face_loss):
            engine.unload()

    def close(self) -> None:
        self._opened.close()
