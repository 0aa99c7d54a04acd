"""Driving frames of videos and folders: which, in what order, and which way up."""

import itertools
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
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


@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, 1, -1, 0),
        (0, -1, 1, 0),
        (0, -1, -1, 0),
    ],
)
def test_a_turned_or_mirrored_video_is_as_players_show_it(matrix, tmp_path):
    """All eight ways: a point x, y of the stored picture goes to a x + c y, b x + d y, moved into the picture."""
    path = video(tmp_path / "mirrored.mp4")
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # of the track's header: its matrix a b u c d v x y w
    a, b, c, d = matrix
    struct.pack_into(">9i", content, at, *(value << 16 for value in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    path.write_bytes(content)
    frame = next(open_driving(path, Selection()).frames()).pixels
    height, width = frame.shape[:2]
    assert (width, height) == ((64, 32) if a else (32, 64))
    x, y = a * 3 + c * 3, b * 3 + d * 3  # of the white corner
    assert frame[y % height, x % width].min() > 200
    assert (frame[4:-4, 4:-4].max(axis=2) > 200).sum() <= 16 and sum(corners(frame)) == 1


def still_and_video(path: Path, default: bool) -> Path:
    """A track of one picture before the track that moves; `default`: players show it by default."""
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("libx264", rate=5) for _ in range(2)]
        for stream, (width, height) in zip(tracks, ((128, 64), (64, 32)), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if default:
            tracks[0].disposition = Disposition.default
        for number in range(6):
            for stream in tracks[number > 0 :]:
                picture = np.full((stream.height, stream.width, 3), 20 * number, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in tracks:
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{video}'\n",
    ],
    ids=["hls", "concat"],
)
def test_what_names_other_files_is_not_read(text, tmp_path):
    named = still_and_video(tmp_path / "named.mp4", default=False)
    path = tmp_path / "list.mp4"
    path.write_text(text.format(video=named))
    with pytest.raises(InputError, match="is not a video that can be read"):
        open_driving(path, Selection())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_of_two_tracks_the_one_that_moves_is_taken_and_told(suffix, tmp_path):
    driving = open_driving(still_and_video(tmp_path / f"two{suffix}", default=suffix == ".mp4"), Selection())
    frames = [frame.pixels for frame in driving.frames()]
    assert len(frames) == 6 and frames[0].shape == (32, 64, 3)
    assert [round(float(frame.mean()) / 20) for frame in frames] == list(range(6))
    assert driving.warnings == [
        f"{tmp_path}/two{suffix} has 2 video tracks: number 1, 64x32, is taken; cut the file if another is meant."
    ]


def test_an_animated_webp_is_read(tmp_path):
    shown = [Image.new("RGB", (64, 32), (20 * number,) * 3) for number in range(6)]
    shown[0].save(tmp_path / "dance.webp", save_all=True, append_images=shown[1:], duration=200, lossless=True)
    driving = open_driving(tmp_path / "dance.webp", Selection(1, 6, 2))
    frames = list(driving.frames())
    assert [frame.index for frame in frames] == [1, 3, 5] == [brightness(frame.pixels) for frame in frames]
    assert driving.fps == pytest.approx(2.5) and len(driving.selected) == 3
    assert [frame.index for frame in driving.frames(skip=2)] == [5]


MATRICES = {"ITU709": (0.2126, 0.0722, 1), "ITU601": (0.299, 0.114, 5)}  # share of red and blue; its number


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("standard", MATRICES)
def test_colours_are_read_as_they_are_tagged(standard, full, tmp_path):
    """Luma and chroma by the standards' own numbers, written untouched."""
    colour = np.array([220, 30, 40])
    red, blue, number = MATRICES[standard]
    luma = colour @ (red, 1 - red - blue, blue) / 255
    chroma = (colour[[2, 0]] / 255 - luma) / (2 - 2 * np.array([blue, red]))
    values = (luma * 255, *chroma * 255 + 128) if full else (16 + luma * 219, *chroma * 224 + 128)
    with av.open(str(tmp_path / "red.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuvj420p" if full else "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = number, 2 if full else 1
        frame = av.VideoFrame(64, 32, stream.pix_fmt)
        for plane, value in zip(frame.planes, values, strict=True):
            plane.update(bytes([round(value)]) * plane.buffer_size)
        frame.colorspace, frame.color_range = number, 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    shown = next(open_driving(tmp_path / "red.mp4", Selection()).frames()).pixels
    np.testing.assert_allclose(shown.mean(axis=(0, 1)), colour, atol=2.5)


def test_pixels_are_square(tmp_path):
    frame = next(open_driving(video(tmp_path / "wide.mp4", aspect="2/1"), Selection()).frames())
    assert frame.pixels.shape == (32, 128, 3)


def test_a_long_video_is_not_held_in_memory(tmp_path):
    """Frames are decoded as they are asked for: those of an endless selection's end are never touched."""
    driving = open_driving(video(tmp_path / "long.mp4", frames=300), Selection())
    assert len(list(itertools.islice(driving.frames(), 3))) == 3
    assert driving.decoded < 50


def test_an_animated_webp_of_absurd_size_is_refused(tmp_path, recwarn):
    shown = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    shown[0].save(tmp_path / "dance.webp", save_all=True, append_images=shown[1:])
    content = bytearray((tmp_path / "dance.webp").read_bytes())
    for side in (9000, 16384):  # beyond our limit, and beyond Pillow's
        content[24:30] = 2 * (side - 1).to_bytes(3, "little")
        (tmp_path / "dance.webp").write_bytes(content)
        with pytest.raises(InputError, match="has frames of more than 67,108,864 pixels"):
            open_driving(tmp_path / "dance.webp", Selection())
    assert not [one for one in recwarn.list if one.category is Image.DecompressionBombWarning]


def test_images_of_a_folder_come_in_natural_order(tmp_path):
    for name in ("frame_10.png", "frame_9.png", "frame_1.jpg", "b2.png", ".hidden.png"):
        picture_file(tmp_path / "frames" / name, 32, 16)
    (tmp_path / "frames" / "notes.txt").write_text("no picture")
    driving = open_driving(tmp_path / "frames", Selection())
    assert [frame.name for frame in driving.frames()] == ["b2.png", "frame_1.jpg", "frame_9.png", "frame_10.png"]
    assert driving.fps is None and driving.timeline is None and list(driving.selected) == [0, 1, 2, 3]
    assert [frame.index for frame in open_driving(tmp_path / "frames", Selection(1, None, 2)).frames()] == [1, 3]


def test_numbers_in_names_need_not_be_alone():
    names = ["a10b2", "a10b10", "a9", "12", "3", "img2.png", "img10.png", "²1.png"]
    expected = ["3", "12", "a9", "a10b2", "a10b10", "img2.png", "img10.png", "²1.png"]
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
