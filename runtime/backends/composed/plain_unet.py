"""The UNet as published, in one engine that is given everything in every call."""

import numpy as np

from sa.runtime.backends.base import Engine
from sa.runtime.backends.video_unet import VideoConditions, VideoUNet


class PlainUNet(VideoUNet):
    """Makes the inputs of a plain UNet: those of `sa-export --plain`, and of other frameworks in benchmarks."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._video: VideoConditions
        self._conditions: VideoConditions  # of the step's branches
        self._time: np.ndarray  # [1]

    def begin_video(self, conditions: VideoConditions) -> None:
        self._video = conditions

    def begin_step(self, time: np.float32, branches: int | None = None) -> None:
        self._conditions = self._video.first(branches or self._video.branches)
        self._time = np.array([time], np.float32)

    def velocity(self, latents: np.ndarray, pose_latents: np.ndarray, tile: int = 0) -> np.ndarray:
        given = self._conditions
        shape = (given.branches, *latents.shape[1:])
        image = np.broadcast_to(given.image_latents[:, None], shape)
        pose = np.zeros((given.branches, *pose_latents.shape[1:]), np.float32)
        pose[0] = pose_latents[0]
        return self._engine.infer(
            {
                "sample": np.concatenate([np.broadcast_to(latents, shape), image], axis=2),
                "timestep": self._time,
                "added_time_ids": given.added_time_ids,
                "encoder_hidden_states": given.tokens,
                "pose_latents": pose,
            }
        )["velocity"]

    def warnings(self) -> tuple[str, ...]:
        return self._engine.warnings()

    def unload(self) -> None:
        self._engine.unload()

    def close(self) -> None:
        self._engine.close()
