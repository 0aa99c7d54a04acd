"""Audio that says where it is: a click at every half second."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLICK, EVERY = 0.01, 0.5  # seconds


def clicks(begin: int, end: int, rate: int) -> np.ndarray:
    """[end - begin] int16: samples of a tone of 1 kHz around every half second."""
    seconds = np.arange(begin, end) / rate
    near = np.abs(seconds - np.round(seconds / EVERY) * EVERY) < CLICK
    return (np.where(near, np.sin(2000 * np.pi * seconds), 0) * 20000).astype(np.int16)


def video_with_audio(
    path: Path, frames: int, fps: int, codec: str = "aac", rate: int = 44100, delay: float = 0
) -> Path:
    """64x32 pixels. The audio is mono and begins after `delay` seconds."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=fps)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 32, "yuv420p"
        audio = container.add_stream(codec, rate=rate, layout="mono")
        done = round(delay * rate)
        for i in range(frames):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.full((32, 64, 3), 9 * i % 256, np.uint8))))
            upto = round((i + 1) / fps * rate)
            if upto > done:
                samples = av.AudioFrame.from_ndarray(clicks(done, upto, rate)[None], format="s16", layout="mono")
                samples.sample_rate, samples.pts, samples.time_base = rate, done, Fraction(1, rate)
                container.mux(audio.encode(samples))
                done = upto
        container.mux(pictures.encode())
        container.mux(audio.encode())
    return path


def heard(samples: np.ndarray, rate: int) -> list[float]:
    """The seconds at which there are clicks in [n, channels] or [n], in tenths."""
    loud = np.flatnonzero(np.abs(samples.reshape(len(samples), -1)[:, 0].astype(float)) > 5000) / rate
    return sorted({round(float(second) / EVERY * 10) * EVERY / 10 for second in loud})
