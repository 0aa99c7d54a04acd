"""ComfyUI's pictures and ours: IMAGE is [B, H, W, C] float from 0 to 1, ours are [H, W, 3] uint8."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import av
import numpy as np

from sa.runtime.comfyui.host import spread
from sa.runtime.errors import InputError


class Pictures(Sequence[np.ndarray]):
    """An IMAGE [B, H, W, 3] or MASK [B, H, W] as uint8 pictures. Each is converted when it is asked for."""

    def __init__(self, batch: np.ndarray):
        self._batch = batch

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "Pictures": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | Pictures":
        if isinstance(index, slice):
            return Pictures(self._batch[index])
        levels = np.clip(self._batch[index].astype(np.float32) * 255, 0, 255)
        return np.rint(levels).astype(np.uint8)

    def __len__(self) -> int:
        return len(self._batch)


def pictures(image: np.ndarray, name: str) -> Pictures:
    """The pictures of an IMAGE; InputError unless it is [B, H, W, 3] and finite."""
    if image.ndim != 4 or image.shape[-1] != 3 or not len(image):
        raise InputError(f"{name} is {list(image.shape)}: connect an IMAGE of three channels, [B, H, W, 3].")
    return _finite(image, name)


def masks(mask: np.ndarray, name: str) -> Pictures:
    """The masks of a MASK, white where it is 1; InputError unless it is [B, H, W] and finite."""
    if mask.ndim != 3 or not len(mask):
        raise InputError(f"{name} is {list(mask.shape)}: connect a MASK, [B, H, W].")
    return _finite(mask, name)


def single(found: Pictures, name: str) -> np.ndarray:
    """The only picture; InputError if there are more."""
    if len(found) != 1:
        raise InputError(f"{name} has {len(found)} pictures: connect one, such as that of Load Image.")
    return found[0]


def _finite(batch: np.ndarray, name: str) -> Pictures:
    for number, picture in enumerate(batch):  # one by one: a mask of a long video would take a quarter of it
        if not np.isfinite(picture).all():
            raise InputError(f"{name} has NaN or infinite values in picture {number}: look at the node it comes from.")
    return Pictures(batch)


def video_frames(path: Path, count: int, most: int) -> np.ndarray:
    """An IMAGE of up to `most` of a video's `count` frames, evenly spread."""
    chosen = set(spread(count, most))
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        taken = [frame.to_ndarray(format="rgb24") for number, frame in enumerate(frames) if number in chosen]
    return np.divide(np.stack(taken), 255, dtype=np.float32)
