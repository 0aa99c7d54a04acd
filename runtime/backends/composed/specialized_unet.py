"""The UNet of a specialized set: results that do not change between calls are computed once and kept.

Three engines stand behind the plain UNet's signature, so the sampler need not know which of the two it has.
`conditioning` runs once per video and guidance branch, `time_embedding` once per step, `unet` in every call.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from sa.runtime.backends.base import Engine, Tensor, as_array
from sa.runtime.contract import SPECIALIZED, EngineContract, Role, Signature, TensorSpec

LATENTS = 4  # the sample's first channels, the noisy latents; the image latents follow
ENGINES: tuple[Role, ...] = (*SPECIALIZED, "unet")


def plain_signature(contracts: Mapping[Role, EngineContract]) -> Signature:
    """The plain UNet's signature, derived from the three engines.

    sample [B, T, 8, h, w]: scaled latents, then image latents; timestep [1]; added_time_ids [1, 3];
    encoder_hidden_states [B, 1 + 4, X]; pose_latents [B, T, C0, h, w] -> velocity [B, T, 4, h, w].
    """
    latents, features, *_ = contracts["unet"].inputs
    image, tokens = contracts["conditioning"].inputs
    branches, frames, _, *size = latents.shape
    inputs = (
        TensorSpec(name="sample", shape=(branches, frames, LATENTS + image.largest[1], *size)),
        *contracts["time_embedding"].inputs,
        TensorSpec(name="encoder_hidden_states", shape=(branches, *tokens.shape[1:])),
        TensorSpec(name="pose_latents", shape=features.shape),
    )
    return Signature("unet", inputs, contracts["unet"].outputs)


@dataclass(frozen=True)
class Branch:
    """Inputs and outputs of the conditioning engine for one guidance branch."""

    image_latents: np.ndarray  # [T, 4, h, w]
    tokens: np.ndarray  # [1, 1 + 4, X]
    outputs: dict[str, np.ndarray]

    def matches(self, image_latents: np.ndarray, tokens: np.ndarray) -> bool:
        return np.array_equal(self.image_latents, image_latents) and np.array_equal(self.tokens, tokens)


class SpecializedUNet(Engine):
    def __init__(self, contracts: Mapping[Role, EngineContract], open_engine: Callable[[Role], Engine]):
        super().__init__(plain_signature(contracts))
        self._open = open_engine
        self._branches: list[Branch] = []
        self._video_inputs: dict[str, np.ndarray] = {}  # UNet inputs of a whole video; read-only, so GPUs get them once
        self._step: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None = None
        self._unet = open_engine("unet")
        try:
            self._time_embedding = open_engine("time_embedding")
        except BaseException:
            self._unet.close()
            raise

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        given = {name: as_array(value) for name, value in inputs.items()}
        sample, pose = given["sample"], given["pose_latents"]
        self._condition(sample[:, :, LATENTS:], given["encoder_hidden_states"])
        features = np.empty_like(pose)
        for one, its_pose, branch in zip(features, pose, self._branches, strict=True):
            np.add(its_pose, branch.outputs["image_features"], out=one)
        return self._unet.infer(
            {
                "latents": np.ascontiguousarray(sample[:, :, :LATENTS]),
                "frame_features": features,
                "time_rows": self._time_rows(given["timestep"], given["added_time_ids"]),
                **self._video_inputs,
            },
            keep,
        )

    def _condition(self, image_latents: np.ndarray, tokens: np.ndarray) -> None:
        """Set `_branches` and `_video_inputs`. The conditioning engine is large, so it is loaded only for this."""
        given = [(image, tokens[i : i + 1]) for i, image in enumerate(image_latents)]
        known = [next((branch for branch in self._branches if branch.matches(*one)), None) for one in given]
        found = [branch for branch in known if branch is not None]
        if len(found) < len(given):
            with self._open("conditioning") as engine:
                found = [branch or _run_conditioning(engine, *one) for branch, one in zip(known, given, strict=True)]
        if [*map(id, found)] != [*map(id, self._branches)]:
            self._branches = found
            self._video_inputs = {
                "constants": _read_only(np.concatenate([branch.outputs["constants"] for branch in found])),
                "positions": _read_only(found[0].outputs["positions"]),
            }

    def _time_rows(self, timestep: np.ndarray, added_time_ids: np.ndarray) -> np.ndarray:
        given = {"timestep": timestep, "added_time_ids": added_time_ids}
        if self._step is None or any(not np.array_equal(self._step[0][name], given[name]) for name in given):
            made = {name: _read_only(value) for name, value in self._time_embedding.infer(given).items()}
            self._step = {name: value.copy() for name, value in given.items()}, made
        return self._step[1]["time_rows"]

    def warnings(self) -> tuple[str, ...]:
        return self._unet.warnings()

    def unload(self) -> None:
        self._unet.unload()
        self._time_embedding.unload()

    def close(self) -> None:
        self._branches, self._video_inputs, self._step = [], {}, None
        self._unet.close()
        self._time_embedding.close()


def _run_conditioning(engine: Engine, image_latents: np.ndarray, tokens: np.ndarray) -> Branch:
    image_latents, tokens = image_latents.copy(), tokens.copy()
    return Branch(
        image_latents, tokens, engine.infer({"image_latents": image_latents, "encoder_hidden_states": tokens})
    )


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
