"""Written videos are read back."""

import os

import av
import numpy as np
import pytest
from PIL import Image

from sa.runtime.output.video import encode_mp4, gif_durations, write_frame, write_gif, write_mp4

COUNT = 9


@pytest.fixture
def frames(tmp_path):
    """Frames of one colour each, [H, W, 3] = 64 x 128."""
    for i in range(COUNT):
        write_frame(tmp_path, i, np.full((64, 128, 3), (25 * i, 128, 255 - 25 * i), np.uint8))
    return tmp_path


def test_mp4_has_every_frame_at_its_rate_and_colour(frames):
    write_mp4(frames / "video.mp4", frames, COUNT, 12.5)
    with av.open(str(frames / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 12.5 and (stream.width, stream.height) == (128, 64)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == COUNT
    for i, frame in enumerate(decoded):
        np.testing.assert_allclose(frame.mean((0, 1)), (25 * i, 128, 255 - 25 * i), atol=6)


def test_the_same_frames_are_the_same_bytes(tmp_path):
    """Whatever lies in memory: with macroblock trees on a CPU with AVX-512, x264 made several files of such frames."""
    noise, kept = np.random.default_rng(0), []
    for take in range(6):
        folder = tmp_path / str(take)
        folder.mkdir()
        for i in range(5):
            coarse = Image.fromarray(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            write_frame(folder, i, np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC)))
        made = set()
        for _ in range(40):
            kept = [bytes(size) for size in noise.integers(1, 100_000, noise.integers(20))]
            write_mp4(folder / "video.mp4", folder, 5, 8.0)
            made.add((folder / "video.mp4").read_bytes())
        assert len(made) == 1, len(kept)


def gif_times(path):
    with Image.open(path) as image:
        times = []
        for i in range(image.n_frames):
            image.seek(i)
            times.append(image.info["duration"])
        return times, image.info.get("loop")


def test_gif_keeps_the_length_of_the_video(frames):
    write_gif(frames / "video.gif", frames, COUNT, 8)
    times, loop = gif_times(frames / "video.gif")
    assert len(times) == COUNT and loop == 0
    assert abs(sum(times) - COUNT * 125) <= 5 and set(times) <= {120, 130}


def test_upstream_gif_has_the_published_duration(frames):
    write_gif(frames / "video.gif", frames, COUNT, 30, upstream=True)
    assert gif_times(frames / "video.gif")[0] == [120] * COUNT  # 125 ms, as Pillow stores it


@pytest.mark.parametrize("fps", [0.5, 7, 8, 24, 29.97])
def test_gif_durations_add_up(fps):
    durations = gif_durations(200, fps)
    assert len(durations) == 200 and all(d % 10 == 0 for d in durations)
    assert abs(sum(durations) - 200 * 1000 / fps) <= 10


def test_gif_frames_are_never_shorter_than_players_honour():
    assert set(gif_durations(50, 240)) == {20}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot take cores from a process")
def test_mp4_is_the_same_on_any_number_of_cores(tmp_path):
    """The encoder's result depends on its threads."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    large = Image.fromarray(noise).resize((512, 512), Image.Resampling.BILINEAR)
    for i in range(COUNT):
        write_frame(tmp_path, i, np.roll(np.asarray(large), 7 * i, axis=1))
    cores = os.sched_getaffinity(0)
    made = []
    for some in ({min(cores)}, cores):
        try:
            os.sched_setaffinity(0, some)
            write_mp4(tmp_path / "video.mp4", tmp_path, COUNT, 8)
        finally:
            os.sched_setaffinity(0, cores)
        made.append((tmp_path / "video.mp4").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("size", [(576, 1024), (64, 64)])
def test_colours_are_bt709_and_tagged_so(size, tmp_path):
    """Decoded by BT.709's own numbers, whatever the library makes of the tags."""
    colour = (220, 30, 40)
    encode_mp4(tmp_path / "video.mp4", [Image.new("RGB", size, colour)] * 2, 8)
    with av.open(str(tmp_path / "video.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)
        assert tags == (1, 1, 1, 1)  # BT.709 thrice, and limited range
        frame = next(container.decode(video=0))
        luma, blue, red = (float(np.frombuffer(plane, np.uint8)[8 * plane.line_size + 8]) for plane in frame.planes)
    y, cb, cr = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    shown = [255 * value for value in (y + 1.5748 * cr, y - 0.1873 * cb - 0.4681 * cr, y + 1.8556 * cb)]
    np.testing.assert_allclose(shown, colour, atol=2)
