"""A tile worker's process: python -m sa.runtime.split.tile_worker. It has a UNet and answers one message after another.

The first message is its configuration. It ends when its run does, which it sees between two calls of the UNet.
"""

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sa.runtime.backends.base import Engine
from sa.runtime.backends.video_unet import VideoConditions, VideoUNet, read_only
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import UserError
from sa.runtime.split.messages import Arrays, receive, send

# What it is asked to do: for the UNet, and for the refinement's loss gradient.
OPEN, VIDEO, STEP, TILE, WARNINGS, UNLOAD = "open", "video", "step", "tile", "warnings", "unload"
OPEN_GRADIENT, GRADIENT, UNLOAD_GRADIENT, CLOSE_GRADIENT = (
    "open gradient",
    "gradient",
    "unload gradient",
    "close gradient",
)


@dataclass(frozen=True)
class TileWorkerConfig:
    engines: str
    digest: str
    device: str
    threads: int
    low_memory: bool

    def to_dict(self) -> dict:
        return asdict(self)


class TileWorker:
    """Answers messages. What stays in a video is sent once: conditions, and the pose latents of its tiles."""

    def __init__(self, config: TileWorkerConfig):
        self._engines = EngineSet.open(
            Path(config.engines),
            device=config.device,
            threads=config.threads,
            low_memory=config.low_memory,
            digest=config.digest,
        )
        self._unet: VideoUNet
        self._interval = 0
        self._gradient: Engine
        self._poses: dict[int, np.ndarray] = {}  # by tile

    def answer(self, what: dict, arrays: Arrays) -> tuple[dict, Arrays]:
        match what["do"]:
            case "open":
                self._open(what["cache_interval"])
            case "video":
                self._poses = {}
                self._unet.begin_video(VideoConditions(**arrays))
            case "step":
                self._unet.begin_step(arrays["time"][0], what["branches"])
            case "tile":
                return {}, {"velocity": self._tile(what["tile"], what["keep"], arrays)}
            case "warnings":
                return {"warnings": self._unet.warnings()}, {}
            case "unload":
                self._unet.unload()
            case "open gradient":
                self._gradient = self._engines.open_loss_gradient()
            case "gradient":
                return {}, self._gradient.infer(arrays)
            case "unload gradient":
                self._gradient.unload()
            case "close gradient":
                self._gradient.close()
        return {}, {}

    def _open(self, cache_interval: int) -> None:
        if cache_interval != self._interval:
            if self._interval:
                self._unet.close()
            self._unet, self._interval = self._engines.open_unet(cache_interval=cache_interval), cache_interval

    def _tile(self, tile: int, keep: bool, arrays: Arrays) -> np.ndarray:
        pose = arrays["pose_latents"] if "pose_latents" in arrays else self._poses[tile]
        if keep:
            self._poses[tile] = read_only(pose)
        return self._unet.velocity(arrays["latents"], pose, tile)


def main() -> None:
    # Libraries write to stdout, even from C: what they say goes to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    worker: TileWorker | None = None
    while True:
        try:
            what, arrays = receive(requests)
        except EOFError:
            return
        answer: tuple[dict, Arrays]
        try:
            if worker is None:
                worker, answer = TileWorker(TileWorkerConfig(**what)), ({}, {})
            else:
                answer = worker.answer(what, arrays)
        except UserError as error:
            answer = {"error": str(error), "kind": type(error).__name__}, {}
        except MemoryError:
            answer = {"error": "out of memory", "kind": "MemoryError"}, {}
        send(answers, *answer)


if __name__ == "__main__":
    main()
