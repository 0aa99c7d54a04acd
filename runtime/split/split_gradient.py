"""The refinement's loss gradient, whose chunks of frames are computed by several processes."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from sa.runtime.backends.base import Engine, Interface, Tensor, as_array
from sa.runtime.split.process import AHEAD, TileWorkerProcess, ask_all, in_order
from sa.runtime.split.tile_worker import CLOSE_GRADIENT, GRADIENT, OPEN_GRADIENT, UNLOAD_GRADIENT


class SplitLossGradient(Engine):
    """Chunk i of a call of `infer_each` is computed by worker i modulo their number."""

    def __init__(self, workers: Sequence[TileWorkerProcess], contract: Interface):
        super().__init__(contract)
        self._workers = workers
        ask_all(workers, OPEN_GRADIENT)

    def infer_each(self, given: Iterable[Mapping[str, Tensor]]) -> Iterator[dict[str, np.ndarray]]:
        asked = (
            self._workers[i % len(self._workers)].ask(
                GRADIENT, {name: as_array(value) for name, value in inputs.items()}
            )
            for i, inputs in enumerate(given)
        )
        return in_order(asked, AHEAD * len(self._workers))

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        return dict(next(self.infer_each([inputs])))

    def unload(self) -> None:
        ask_all(self._workers, UNLOAD_GRADIENT)

    def close(self) -> None:
        if all(worker.alive and worker.idle for worker in self._workers):
            ask_all(self._workers, CLOSE_GRADIENT)
