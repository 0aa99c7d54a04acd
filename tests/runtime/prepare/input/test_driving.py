"""Driving frames of videos and folders: which, in what order, and which way up."""

import itertools
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from prepare_data import picture_file

from sa.runtime.errors import InputError
from sa.runtime.prepare.input.driving import natural_order, open_driving
from sa.runtime.prepare.input.timeline import Selection


def video(path: Path, frames: int = 6, turn: int = 0, aspect: str | None = None) -> Path:
    """64x32 pixels, 5 frames a second; the upper left corner is white, the right edge brighter from frame to frame."""
    with av.open(str(path), "w") as container:
        options = {"crf": "0"} | ({"x264-params": f"sar={aspect}"} if aspect is not None else {})
        stream = container.add_stream("libx264", rate=5, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        if turn:
            stream.set_display_rotation(turn)
        for i in range(frames):
            picture = np.zeros((32, 64, 3), np.uint8)
            picture[:8, :8], picture[:, -4:] = 255, 20 * (i % 12)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


def brightness(picture: np.ndarray) -> int:
    return round(int(picture[-3, -3, 0]) / 20)


def corners(picture: np.ndarray) -> list[bool]:
    """Is it white: upper left, upper right, lower right, lower left?"""
    return [bool(picture[y, x].min() > 200) for y, x in ((3, 3), (3, -4), (-4, -4), (-4, 3))]


@pytest.mark.parametrize(
    "selection", [Selection(), Selection(1, 5, 2), Selection(2), Selection(0, 99), Selection(4, 5)]
)
def test_the_selected_frames_of_a_video(selection, tmp_path):
    driving = open_driving(video(tmp_path / "dance.mp4"), selection)
    expected = list(range(6))[selection.start : selection.stop : selection.step]
    frames = list(driving.frames())
    assert [frame.index for frame in frames] == expected == [brightness(frame.pixels) for frame in frames]
    assert [frame.name for frame in frames] == [f"dance.mp4#{index}" for index in expected]
    assert driving.selected == expected and driving.fps == 5 / selection.step and not driving.warnings
    for skip in range(len(expected) + 1):
        assert [frame.index for frame in driving.frames(skip)] == expected[skip:]


@pytest.mark.parametrize(
    ("turn", "size", "white"), [(0, (32, 64), 0), (-90, (64, 32), 1), (180, (32, 64), 2), (90, (64, 32), 3)]
)
def test_a_turned_video_is_upright(turn, size, white, tmp_path):
    """-90 is what a telephone held upright writes: the player turns the picture clockwise."""
    frame = next(open_driving(video(tmp_path / "turned.mp4", turn=turn), Selection()).frames())
    assert frame.pixels.shape == (*size, 3)
    assert corners(frame.pixels).index(True) == white and sum(corners(frame.pixels)) == 1


def test_pixels_are_square(tmp_path):
    frame = next(open_driving(video(tmp_path / "wide.mp4", aspect="2/1"), Selection()).frames())
    assert frame.pixels.shape == (32, 128, 3)


def test_a_long_video_is_not_held_in_memory(tmp_path):
    """Frames are decoded as they are asked for: those of an endless selection's end are never touched."""
    driving = open_driving(video(tmp_path / "long.mp4", frames=300), Selection())
    assert len(list(itertools.islice(driving.frames(), 3))) == 3
    assert driving.decoded < 50


def test_images_of_a_folder_come_in_natural_order(tmp_path):
    for name in ("frame_10.png", "frame_9.png", "frame_1.jpg", "b2.png", ".hidden.png"):
        picture_file(tmp_path / "frames" / name, 32, 16)
    (tmp_path / "frames" / "notes.txt").write_text("no picture")
    driving = open_driving(tmp_path / "frames", Selection())
    assert [frame.name for frame in driving.frames()] == ["b2.png", "frame_1.jpg", "frame_9.png", "frame_10.png"]
    assert driving.fps is None and driving.timeline is None and list(driving.selected) == [0, 1, 2, 3]
    assert [frame.index for frame in open_driving(tmp_path / "frames", Selection(1, None, 2)).frames()] == [1, 3]


def test_numbers_in_names_need_not_be_alone():
    names = ["a10b2", "a10b10", "a9", "12", "3", "img2.png", "img10.png"]
    expected = ["3", "12", "a9", "a10b2", "a10b10", "img2.png", "img10.png"]
    assert [path.name for path in natural_order(map(Path, names))] == expected


def test_exif_of_a_frame_is_applied_once(tmp_path):
    (tmp_path / "frames").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "frames" / "a.jpg", exif=exif)
    assert next(open_driving(tmp_path / "frames", Selection()).frames()).pixels.shape == (30, 20, 3)


def test_a_folders_digest_follows_names_and_contents(tmp_path):
    def digest() -> str:
        return open_driving(tmp_path, Selection()).digest()

    picture_file(tmp_path / "a.png", 32, 16)
    first = digest()
    assert digest() == first
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    renamed = digest()
    picture_file(tmp_path / "b.png", 32, 16, seed=1)
    assert len({first, renamed, digest()}) == 3


def test_a_video_cut_short_is_said_or_refused(tmp_path):
    whole = video(tmp_path / "whole.mp4", frames=200).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])  # its index, at the end, is gone
    with pytest.raises(InputError, match="is not a video that can be read"):
        open_driving(cut, Selection())
