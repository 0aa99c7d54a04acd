"""Writes frames as PNG, MP4 and GIF. Each decoded frame goes to disk; the videos are made from these files."""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from sa.runtime.case.audio import LAYOUT, RATE, audio_frame

GIF_TICKS = 100  # a GIF counts time in hundredths of a second
ENCODER_THREADS = 4  # always: the result depends on them, and must not depend on how many cores a machine has
# With macroblock trees, the x264 of PyAV 18.1 made other bytes of the same frames in a tenth of the calls, on a CPU
# with AVX-512; not with AVX2, nor without the trees.
ENCODING = {"crf": "16", "preset": "medium", "x264-params": "mbtree=0"}
AUDIO_BITS = 192_000  # a second
# Players take untagged videos for BT.601 or BT.709, by their size. All three numbers of BT.709 in H.264 are 1.
BT709, LIMITED = 1, 1  # colours, and the range 16 to 235
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


def write_mp4(path: Path, folder: Path, count: int, fps: float, audio: Iterator[np.ndarray] | None = None) -> None:
    """The frames in `folder` as H.264 in visually lossless quality, with AAC audio, which every browser plays."""
    encode_mp4(path, _frames(folder, count), fps, audio)


def encode_mp4(
    path: Path, images: Iterable[Image.Image], fps: float, audio: Iterator[np.ndarray] | None = None
) -> None:
    """images: RGB, all of the same size, with even sides. audio: as sa.runtime.case.audio reads it."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options=ENCODING)
        stream.codec_context.thread_count = ENCODER_THREADS
        for name in ("color_primaries", "color_trc", "colorspace"):
            setattr(stream.codec_context, name, BT709)
        stream.codec_context.color_range = LIMITED
        sound = _Sound(container, audio) if audio is not None else None
        for i, image in enumerate(images):
            if i == 0:
                stream.width, stream.height = image.size
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(_to_bt709(image)))
            if sound is not None:
                sound.write_until((i + 1) / fps)
        container.mux(stream.encode())
        if sound is not None:
            sound.close()


def _to_bt709(image: Image.Image) -> av.VideoFrame:
    """Without this, the conversion would be that of BT.601."""
    frame = av.VideoFrame.from_image(image)
    converted = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
    converted.colorspace, converted.color_range = BT709, LIMITED
    return converted


class _Sound:
    """The audio of a video, written in step with its frames."""

    def __init__(self, container: av.container.OutputContainer, audio: Iterator[np.ndarray]):
        self._container, self._audio = container, audio
        self._stream = container.add_stream("aac", rate=RATE, layout=LAYOUT)
        self._stream.bit_rate = AUDIO_BITS
        self._done = 0  # samples

    def write_until(self, seconds: float) -> None:
        while self._done < seconds * RATE and (samples := next(self._audio, None)) is not None:
            self._container.mux(self._stream.encode(audio_frame(samples, self._done)))
            self._done += len(samples)

    def close(self) -> None:
        self._container.mux(self._stream.encode())


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
