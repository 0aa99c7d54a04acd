"""A UNet asked one call at a time with the plain UNet's inputs, to compare any UNet with the plain network."""

from collections.abc import Collection, Mapping

import numpy as np

from sa.runtime.backends.base import Engine, Tensor, as_array
from sa.runtime.backends.composed.specialized_unet import LATENTS, SpecializedUNet
from sa.runtime.backends.video_unet import VideoConditions, VideoUNet
from sa.runtime.contract import DEEP, EngineContract, Manifest, Role, Signature, TensorSpec


def plain_signature(contracts: Mapping[Role, EngineContract], role: Role = "unet") -> Signature:
    """The plain UNet's signature, or the plain shallow UNet's, derived from the three engines of a specialized set.

    sample [B, T, 8, h, w]: scaled latents, then image latents; timestep [1]; added_time_ids [1, 3];
    encoder_hidden_states [B, 1 + 4, X]; pose_latents [B, T, C0, h, w] -> velocity [B, T, 4, h, w]. With cached deep
    features, the UNet has one more output, `deep`, and the shallow one has it as its last input.
    """
    unet = contracts[role]
    velocity = unet.outputs[0]
    pose = next(spec for spec in unet.inputs if spec.name == "pose_latents")
    tokens = contracts["conditioning"].inputs[1]
    branches, frames, _, *size = velocity.shape
    inputs = (
        TensorSpec(name="sample", shape=(branches, frames, 2 * LATENTS, *size)),
        *contracts["time_embedding"].inputs,
        TensorSpec(name="encoder_hidden_states", shape=(branches, *tokens.shape[1:])),
        TensorSpec(name="pose_latents", shape=(branches, *pose.shape[1:])),
        *(spec for spec in unet.inputs if spec.name == DEEP),
    )
    return Signature(role, inputs, unet.outputs)


def plain_inputs(manifest: Manifest) -> tuple[TensorSpec, ...]:
    """The plain UNet's inputs at the shapes of an engine set, which may be specialized."""
    contracts = {engine.role: engine for engine in manifest.engines}
    return plain_signature(contracts).inputs if manifest.specialized else contracts["unet"].inputs


def plain_call(unet: VideoUNet, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The velocity [B, T, 4, h, w] for inputs of the plain UNet, as a video of one step and one tile.

    They must be such as a run has: the same latents in all branches, the same image in all frames, and pose latents of
    zero in all branches but the first. `fixed_inputs` are.
    """
    return unet.velocity(*begun(unet, inputs))


def begun(unet: VideoUNet, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Begin such a video and step; the tile's latents [1, T, 4, h, w] and pose latents [1, T, C0, h, w]."""
    sample, pose = inputs["sample"], inputs["pose_latents"]
    latents, image = sample[:, :, :LATENTS], sample[:, :, LATENTS:]
    if (latents != latents[:1]).any() or (image != image[:, :1]).any() or pose[1:].any():
        raise ValueError("no run has such inputs: branches differ in latents, frames in the image, or two have poses")
    unet.begin_video(VideoConditions(image[:, 0], inputs["encoder_hidden_states"], inputs["added_time_ids"]))
    unet.begin_step(inputs["timestep"][0])
    return np.ascontiguousarray(latents[:1]), np.ascontiguousarray(pose[:1])


class PlainCalls(Engine):
    """The three engines of a specialized set as one, for its certificate."""

    def __init__(self, unet: SpecializedUNet, contracts: Mapping[Role, EngineContract], role: Role = "unet"):
        """unet: with the engine `role` in the place of the UNet's."""
        super().__init__(plain_signature(contracts, role))
        self._unet = unet

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        arrays = {name: as_array(value) for name, value in inputs.items()}
        further = {name: value for name, value in arrays.items() if name == DEEP}
        return dict(self._unet.outputs(*begun(self._unet, arrays), further))

    def close(self) -> None:
        self._unet.close()
