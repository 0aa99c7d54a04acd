"""Frames by their timestamps, in videos that the tests write."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from prepare_data import picture_file, video_file

from sa.runtime.errors import InputError
from sa.runtime.prepare.input.driving import open_driving
from sa.runtime.prepare.input.timeline import Selection


def video(path: Path, times: list[float], container_options: dict | None = None, **codec: str) -> Path:
    """64x32 pixels; frame i, shown from times[i] on, is as bright as 4 i."""
    pictures = [np.full((32, 64, 3), 4 * number, np.uint8) for number in range(len(times))]
    return video_file(path, pictures, times, container_options, crf="0", **codec)


def shown(driving) -> list[int]:
    """The numbers of the frames by their brightness; `video` made them."""
    return [round(int(frame.pixels[16, 32, 0]) / 4) for frame in driving.frames()]


def test_a_varying_rate_is_resampled_and_said(tmp_path):
    """Five seconds at 5 frames a second and five at 1: neither 2.9 nor 5 for all."""
    times = [i / 5 for i in range(25)] + [5.0 + i for i in range(5)]
    path = video(tmp_path / "uneven.mp4", times)
    driving = open_driving(path, Selection())
    assert driving.fps == pytest.approx(5) and driving.timeline.varies
    np.testing.assert_allclose(driving.timeline.times, times, atol=1e-3)
    assert shown(driving) == list(driving.selected) and len(driving.selected) in (46, 50)  # the last one's length
    assert driving.warnings == [
        f"{path} has a varying frame rate: its frames are taken at 5 a second, by their times; choose another rate "
        "with --fps."
    ]
    kept = open_driving(path, Selection(), keep_rate=True)
    assert shown(kept) == list(range(30)) and "which changes its speed" in kept.warnings[0]


@pytest.mark.parametrize("fps", [5, 50])
def test_frames_are_resampled(fps, tmp_path):
    driving = open_driving(video(tmp_path / "even.mp4", [i / 25 for i in range(50)]), Selection(), fps)
    found = shown(driving)
    assert driving.fps == fps and len(found) == 2 * fps and not driving.warnings
    assert np.abs(np.array(found) / 25 - np.arange(len(found)) / fps).max() <= 0.5 / 25 + 1e-9
    assert [frame.index for frame in driving.frames(skip=7)] == found[7:]


def test_an_edit_list_hides_frames_and_nothing_is_cut_short(tmp_path):
    """A cut without encoding anew: the file keeps the frames from the last key frame on and says where to begin."""
    whole = video(tmp_path / "whole.mp4", [i / 25 for i in range(50)], g="25", bf="0")
    cut = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts, packet.dts = (
                    round(time - Fraction(2, 5) / packet.time_base) for time in (packet.pts, packet.dts)
                )
                packet.stream = stream
                target.mux(packet)
    driving = open_driving(cut, Selection())
    assert shown(driving) == list(range(10, 50)) and not driving.warnings
    assert driving.timeline.end == pytest.approx(1.6, abs=0.05)


def test_times_that_would_repeat_a_frame_for_hours_are_refused(tmp_path):
    path = video(tmp_path / "gap.mkv", [0, 0.04, 0.08, 2.1e6])
    for selection, fps in ((Selection(), None), (Selection(2, 3), 240.0)):
        with pytest.raises(InputError, match="their times are damaged, or they stand for long; take a part by its"):
            open_driving(path, selection, fps)
    assert list(open_driving(path, Selection(0, 2)).selected) == [0, 1]
    ten = list(open_driving(path, Selection(0, 10, 1, True)).selected)  # as advised
    assert len(ten) == 250 and ten[:4] == [0, 1, 2, 2]
    assert len(open_driving(path, Selection(2, 3), 0.001).selected) == 2100  # as advised


def test_pixels_so_wide_that_a_frame_becomes_huge_are_refused(tmp_path):
    with av.open(str(tmp_path / "wide.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 640, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(255, 1)
        container.mux(stream.encode(av.VideoFrame(640, 640, "yuv420p")))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="frames of 640x640, shown as 163200x640, more than 67,108,864 pixels"):
        list(open_driving(tmp_path / "wide.mkv", Selection()).frames())


def test_a_start_that_cannot_be_decoded_is_said(tmp_path):
    """A stream that was joined late: its first frames refer to a key frame that nobody has."""
    whole = video(tmp_path / "whole.ts", [i / 25 for i in range(50)], g="20", bf="0", keyint_min="20")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "late.ts"), "w") as late:
        stream = late.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number >= 13:
                packet.stream = stream
                late.mux(packet)
    driving = open_driving(tmp_path / "late.ts", Selection())
    assert shown(driving) == list(range(20, 50))
    assert driving.warnings == [
        f"{tmp_path}/late.ts begins with 7 frames that cannot be decoded, as what they refer to is missing: frame 0 is "
        "the first that can."
    ]


def test_a_file_cut_short_is_said(tmp_path):
    """Behind its 30th frame. Its index, at the start, promises 50."""
    whole = video(tmp_path / "whole.mp4", [i / 25 for i in range(50)], {"movflags": "faststart"}, g="5", bf="0")
    with av.open(str(whole)) as container:
        end = next(packet.pos for number, packet in enumerate(container.demux(video=0)) if number == 30)
    whole.write_bytes(whole.read_bytes()[:end])
    driving = open_driving(whole, Selection())
    assert shown(driving) == list(range(30))
    assert driving.warnings == [f"{whole} should have 50 frames, but 30 are in it: it may be cut short."]


def test_frames_that_cannot_be_decoded_are_said_once(tmp_path):
    driving = open_driving(video(tmp_path / "dance.mp4", [i / 25 for i in range(9)]), Selection())
    driving._stamps.timeline.times.append(9 / 25)
    for _ in range(2):
        assert shown(driving) == list(range(9))
    assert driving.warnings == [f"{tmp_path}/dance.mp4 has 10 frames, but 9 could be decoded: it may be cut short."]


def test_a_folders_rate_is_told(tmp_path):
    for number in range(10):
        picture_file(tmp_path / "frames" / f"{number}.png", 32, 16)
    driving = open_driving(tmp_path / "frames", Selection(0.5, 1.0, 2, True), fps=10)
    assert list(driving.selected) == [5, 7, 9] and driving.fps == 5 and driving.timeline.end == 1


def test_an_edit_list_that_ends_early_is_no_file_cut_short(tmp_path):
    """Its last frames are in the file and in its index, but a player does not show them."""
    content = bytearray(video(tmp_path / "whole.mp4", [i / 25 for i in range(50)], bf="0").read_bytes())
    place = content.index(b"elst") + 4 + 4 + 4  # version and flags, number of entries: one
    (duration,) = struct.unpack_from(">I", content, place)
    struct.pack_into(">I", content, place, duration * 3 // 5)
    (tmp_path / "ended.mp4").write_bytes(content)
    driving = open_driving(tmp_path / "ended.mp4", Selection())
    assert shown(driving) == list(range(len(driving.selected))) and 30 <= len(driving.selected) < 40
    assert not driving.warnings
