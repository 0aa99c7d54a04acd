"""A UNet whose tiles are computed by several processes. The same tile always goes to the same one."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from sa.runtime.backends.video_unet import TileInput, VideoConditions, VideoUNet
from sa.runtime.sampling.conditioning import KEPT_BYTES
from sa.runtime.split.process import AHEAD, Answer, TileWorkerProcess, ask_all, in_order
from sa.runtime.split.tile_worker import OPEN, STEP, TILE, UNLOAD, VIDEO, WARNINGS


class SplitUNet(VideoUNet):
    """Tile i is computed by worker i modulo their number, which keeps its pose latents and its deep features."""

    def __init__(self, workers: Sequence[TileWorkerProcess], cache_interval: int):
        self._workers = workers
        self._sent: set[int] = set()  # tiles of the video whose pose latents their worker keeps
        self._kept = 0  # bytes of these
        self._all(OPEN, cache_interval=cache_interval)

    def begin_video(self, conditions: VideoConditions) -> None:
        self._sent, self._kept = set(), 0
        arrays = {name: getattr(conditions, name) for name in ("image_latents", "tokens", "added_time_ids")}
        self._all(VIDEO, arrays)

    def begin_step(self, time: np.float32, branches: int | None = None) -> None:
        self._all(STEP, {"time": np.array([time], np.float32)}, branches=branches)

    def velocity(self, latents: np.ndarray, pose_latents: np.ndarray, tile: int = 0) -> np.ndarray:
        return next(self.velocities([(latents, pose_latents, tile)]))

    def velocities(self, tiles: Iterable[TileInput]) -> Iterator[np.ndarray]:
        """In the order of the tiles, whichever is ready first."""
        asked = (self._ask(*given) for given in tiles)
        return (made["velocity"] for made in in_order(asked, AHEAD * len(self._workers)))

    def _ask(self, latents: np.ndarray, pose_latents: np.ndarray, tile: int) -> "Future[Answer]":
        arrays, keep = {"latents": latents}, False
        if tile not in self._sent:
            arrays["pose_latents"] = pose_latents
            keep = self._kept + pose_latents.nbytes <= KEPT_BYTES
            if keep:
                self._sent.add(tile)
                self._kept += pose_latents.nbytes
        return self._workers[tile % len(self._workers)].ask(TILE, arrays, tile=tile, keep=keep)

    def warnings(self) -> tuple[str, ...]:
        answer, _ = self._workers[0].ask(WARNINGS).result()
        return tuple(answer["warnings"])

    def unload(self) -> None:
        self._all(UNLOAD)

    def close(self) -> None:
        """Workers wait for the next video, but for those that are at work on a run that ended before them."""
        for worker in self._workers:
            if not worker.idle:
                worker.close()

    def _all(self, do: str, arrays: dict[str, np.ndarray] | None = None, **fields: object) -> None:
        ask_all(self._workers, do, arrays, **fields)
