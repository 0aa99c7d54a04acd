"""The UNet as a run uses it: told once what stays in a video, once what stays in a step, then called tile by tile."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np

TileInput = tuple[np.ndarray, np.ndarray, int]  # what `VideoUNet.velocity` takes


@dataclass(frozen=True)
class VideoConditions:
    """What stays in a video. B branches of guidance: the conditional one, then the unconditional one if there is any.

    The unconditional branch has zeros for image and tokens (docs/model.md, sections 2.3 and 3.3), and for the pose
    latents too, which are therefore given for the conditional branch alone.
    """

    image_latents: np.ndarray  # [B, 4, h, w]
    tokens: np.ndarray  # [B, 1 + 4, X]: image token, face tokens
    added_time_ids: np.ndarray  # [1, 3]

    @property
    def branches(self) -> int:
        return len(self.image_latents)

    def first(self, branches: int) -> "VideoConditions":
        """Those of the first branches."""
        return VideoConditions(self.image_latents[:branches], self.tokens[:branches], self.added_time_ids)


class VideoUNet(ABC):
    """Use it as a context manager, or close it: weights are large. All arrays are float32."""

    @abstractmethod
    def begin_video(self, conditions: VideoConditions) -> None:
        """What the next steps are conditioned on."""

    @abstractmethod
    def begin_step(self, time: np.float32, branches: int | None = None) -> None:
        """The noise level of the next tiles, as the UNet's timestep 0.25 ln sigma.

        `branches`: how many of the video's branches they are computed for, the conditional one first; None: all.
        """

    @abstractmethod
    def velocity(self, latents: np.ndarray, pose_latents: np.ndarray, tile: int = 0) -> np.ndarray:
        """latents [1, t, 4, h, w], scaled, and pose_latents [1, t, C0, h, w] of a tile -> [b, t, 4, h, w]
        for the step's b branches.

        `tile`: which of the video it is, for what a UNet keeps of a tile from step to step.
        Pose latents that are read-only are taken to stay as they are: a GPU that has them does not get them again.
        """

    def velocities(self, tiles: Iterable[TileInput]) -> Iterator[np.ndarray]:
        """Those of a step's tiles, in their order. A UNet on several devices computes some at once."""
        for latents, pose_latents, tile in tiles:
            yield self.velocity(latents, pose_latents, tile)

    @abstractmethod
    def warnings(self) -> tuple[str, ...]:
        """As an engine's."""

    @abstractmethod
    def unload(self) -> None:
        """As an engine's: free the memory until the next call, where that is possible. The video goes on."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> "VideoUNet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_only(array: np.ndarray) -> np.ndarray:
    """The same array, which nobody may write any more: engines on a GPU get it once."""
    array.flags.writeable = False
    return array
