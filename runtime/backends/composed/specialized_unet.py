"""The UNet of a specialized set, in three engines: what does not change between calls is computed once and kept.

`conditioning` runs once per video and guidance branch, `time_embedding` once per step, `unet` in every call.
"""

from collections.abc import Callable, Mapping

import numpy as np

from sa.runtime.backends.base import Engine, Tensor, as_array
from sa.runtime.backends.video_unet import VideoConditions, VideoUNet, read_only
from sa.runtime.contract import DEEP, Role

LATENTS = 4  # channels of the latents, noisy ones as well as the image's


class SpecializedUNet(VideoUNet):
    def __init__(self, open_engine: Callable[[Role], Engine], role: Role = "unet"):
        """role: of the engine that is called for every tile."""
        self._open = open_engine
        self._time_ids: np.ndarray
        # Inputs of the engine `unet`, read-only, so GPUs get them once. By how many branches are computed.
        self._video: dict[int, dict[str, np.ndarray]] = {}
        self._branches = 0  # of the step
        self._step: dict[str, np.ndarray] = {}
        self._unet = open_engine(role)
        try:
            self._time_embedding = open_engine("time_embedding")
        except BaseException:
            self._unet.close()
            raise

    def begin_video(self, conditions: VideoConditions) -> None:
        """The conditioning engine is large, so it is loaded only for this."""
        self._time_ids, self._step, self._video = conditions.added_time_ids, {}, {}
        made = []
        with self._open("conditioning") as engine:
            frames = engine.contract.inputs[0].largest[0]
            for image, tokens in zip(conditions.image_latents, conditions.tokens, strict=True):
                repeated = np.repeat(image[None], frames, axis=0)
                made.append(engine.infer({"image_latents": repeated, "encoder_hidden_states": tokens[None]}))
        posed = np.zeros((len(made), 1, 1, 1, 1), np.float32)
        posed[0] = 1
        by_branch = {
            # All frames have the same image, so the features of one of them are those of all.
            "image_features": np.stack([one["image_features"][:1] for one in made]),
            "posed": posed,
            "constants": np.concatenate([one["constants"] for one in made]),
        }
        common = {"positions": read_only(made[0]["positions"])}
        for branches in range(1, len(made) + 1):
            self._video[branches] = common | {name: read_only(value[:branches]) for name, value in by_branch.items()}

    def begin_step(self, time: np.float32, branches: int | None = None) -> None:
        self._branches = branches or len(self._video)
        given = {"timestep": np.array([time], np.float32), "added_time_ids": self._time_ids}
        self._step = {"time_rows": read_only(self._time_embedding.infer(given)["time_rows"])}

    def velocity(self, latents: np.ndarray, pose_latents: np.ndarray, tile: int = 0) -> np.ndarray:
        # What this class does not keep stays with the backend, for it to drop: a GPU need not send it.
        dropped = [spec.name for spec in self._unet.contract.outputs if spec.name == DEEP]
        return as_array(self._unet.infer(self._inputs(latents, pose_latents), dropped)["velocity"])

    def outputs(
        self, latents: np.ndarray, pose_latents: np.ndarray, further: Mapping[str, Tensor]
    ) -> dict[str, np.ndarray]:
        """All that the engine gives of a tile. `further`: what it takes beside what every UNet does."""
        return self._unet.infer({**self._inputs(latents, pose_latents), **further})

    def _inputs(self, latents: np.ndarray, pose_latents: np.ndarray) -> dict[str, Tensor]:
        return {"latents": latents, "pose_latents": pose_latents, **self._step, **self._video[self._branches]}

    def warnings(self) -> tuple[str, ...]:
        return self._unet.warnings()

    def unload(self) -> None:
        self._unet.unload()
        self._time_embedding.unload()

    def close(self) -> None:
        self._video, self._step = {}, {}
        self._unet.close()
        self._time_embedding.close()
