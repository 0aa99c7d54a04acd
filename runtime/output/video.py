"""Writes frames as PNG, MP4 and GIF. Each decoded frame goes to disk; the videos are made from these files."""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

GIF_TICKS = 100  # a GIF counts time in hundredths of a second
UPSTREAM_GIF_MS = 125  # at every frame rate; Pillow stores 120 (docs/model.md, section 9)


def frame_path(folder: Path, index: int) -> Path:
    return folder / f"frame_{index}.png"


def write_frame(folder: Path, index: int, frame: np.ndarray) -> None:
    """frame: [H, W, 3] uint8 RGB. The file is there whole or not at all."""
    path = frame_path(folder, index)
    unfinished = path.with_suffix(".part")
    Image.fromarray(frame).save(unfinished, format="PNG")
    os.replace(unfinished, path)


def _frames(folder: Path, count: int) -> Iterator[Image.Image]:
    for i in range(count):
        with Image.open(frame_path(folder, i)) as image:
            yield image.convert("RGB")


def write_mp4(path: Path, folder: Path, count: int, fps: float) -> None:
    """The frames in `folder` as H.264 in visually lossless quality, which every browser plays."""
    encode_mp4(path, _frames(folder, count), fps)


def encode_mp4(path: Path, images: Iterable[Image.Image], fps: float) -> None:
    """images: RGB, all of the same size, with even sides."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "16", "preset": "medium"}
        )
        for i, image in enumerate(images):
            if i == 0:
                stream.width, stream.height = image.size
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def gif_durations(count: int, fps: float) -> list[int]:
    """Milliseconds per frame in whole GIF ticks. Rounding errors carry over, so the video keeps its length."""
    ends = [round((i + 1) * GIF_TICKS / fps) for i in range(count)]
    return [max(end - start, 2) * 10 for start, end in zip([0, *ends], ends, strict=False)]


def write_gif(path: Path, folder: Path, count: int, fps: float, upstream: bool = False) -> None:
    """Endless GIF at `fps`; `upstream` gives every frame the published 125 ms."""
    images = _frames(folder, count)
    first = next(images)
    durations = [UPSTREAM_GIF_MS] * count if upstream else gif_durations(count, fps)
    first.save(path, save_all=True, append_images=images, duration=durations, loop=0)
