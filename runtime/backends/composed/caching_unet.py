"""The specialized UNet with cached deep features: whole at every K-th step, its outermost layers alone between.

DeepCache (Ma et al. 2024, arXiv 2312.00858). A whole call gives the deep feature of its tile as well, which stays with
the backend: an array on a CPU, device memory on a GPU. Shallow calls of the same tile take it in the steps after it.
"""

from collections.abc import Callable

import numpy as np

from sa.runtime.backends.base import Engine, Tensor, as_array
from sa.runtime.backends.composed.specialized_unet import SpecializedUNet
from sa.runtime.backends.video_unet import VideoConditions
from sa.runtime.contract import DEEP, SHALLOW, Role


class CachingUNet(SpecializedUNet):
    """A call is whole at steps 0, K, 2K, ... of a video, and where what is kept is of fewer branches than it has."""

    def __init__(self, open_engine: Callable[[Role], Engine], interval: int):
        """interval: K. A video that goes on from a kept state must begin at one of the steps named above."""
        super().__init__(open_engine)
        try:
            self._shallow = open_engine(SHALLOW)
        except BaseException:
            super().close()
            raise
        self._interval = interval
        self._steps = 0  # of the video, that were begun
        self._features: dict[int, Tensor] = {}  # by tile: [B, t, C, h', w'], the features of B branches

    def begin_video(self, conditions: VideoConditions) -> None:
        self._steps, self._features = 0, {}
        super().begin_video(conditions)

    def begin_step(self, time: np.float32, branches: int | None = None) -> None:
        self._steps += 1
        super().begin_step(time, branches)

    def velocity(self, latents: np.ndarray, pose_latents: np.ndarray, tile: int = 0) -> np.ndarray:
        inputs = self._inputs(latents, pose_latents)
        branches = len(inputs["posed"])
        kept = self._features.get(tile)
        if (self._steps - 1) % self._interval and kept is not None and len(kept) >= branches:
            # The conditional branch is the first, so the features of two serve a call with one.
            return self._shallow.infer({**inputs, DEEP: kept[:branches]})["velocity"]
        del kept
        self._features.pop(tile, None)  # first, so that memory holds it once
        made = self._unet.infer(inputs, keep=(DEEP,))
        self._features[tile] = made[DEEP]
        return as_array(made["velocity"])

    def warnings(self) -> tuple[str, ...]:
        return (*super().warnings(), *self._shallow.warnings())

    def unload(self) -> None:
        """The features stay: they are of the video."""
        super().unload()
        self._shallow.unload()

    def close(self) -> None:
        self._features = {}
        super().close()
        self._shallow.close()
