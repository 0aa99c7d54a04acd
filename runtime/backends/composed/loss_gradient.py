"""The gradient of the face loss with respect to latents, on engines: VAE decoder, crop, ArcFace.

The loss is that of docs/model.md, section 8. There are two plans. `whole` is one engine. `segmented` runs the decoder
segment by segment (segment_chain.py).
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack

import numpy as np

from sa.runtime.backends.base import Engine, Interface, Tensor
from sa.runtime.backends.composed.segment_chain import SegmentChain
from sa.runtime.contract import EngineContract, Manifest, Role, Signature, TensorSpec
from sa.runtime.system.memory import release_freed


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
        with ExitStack() as opened:

            def loaded(role: Role) -> Engine:
                return opened.enter_context(open_engine(role))

            self._chain = SegmentChain(segments, loaded)
            self._face_loss = loaded("face_loss")
            self._opened = opened.pop_all()
        release_freed()

    @property
    def peak_resident(self) -> int:
        """Bytes of the process, the most seen between engine calls."""
        return self._chain.peak_resident

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        frames, way = self._chain.forward(inputs["latents"])
        face = {name: value for name, value in inputs.items() if name != "latents"}
        ends = self._face_loss.infer({"frames": frames, **face}, keep=("gradient",))
        self._face_loss.unload()
        del frames
        gradient = np.empty(inputs["latents"].shape, np.float32)  # an array: Adam runs on the host
        way.back(ends["gradient"], gradient)
        return {"loss": ends["loss"], "gradient": gradient}

    def unload(self) -> None:
        self._chain.unload()
        self._face_loss.unload()

    def close(self) -> None:
        self._opened.close()
