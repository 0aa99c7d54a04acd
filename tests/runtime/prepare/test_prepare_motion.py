"""sa-prepare on people who move, jump, leave and are many: what the command says and writes. Its advice is followed."""

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from prepare_data import face_recogniser, person, video_file

from sa.runtime.prepare import preparation
from sa.runtime.prepare.cli import main
from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.input.timestamps import Timestamps, read_timestamps
from sa.runtime.prepare.whole_body import to_pose

WIDTH, HEIGHT, SIZE = 256, 128, 128  # of the driving frames; of the square output


def scenery(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((HEIGHT // 8, WIDTH // 16, 1), np.uint8))


@pytest.fixture
def place(tmp_path) -> Path:
    Image.new("RGB", (SIZE, SIZE), (90, 120, 150)).save(tmp_path / "photo.png")
    return tmp_path


def prepared(
    place: Path,
    driving: list[np.ndarray],
    *flags: object,
    pictures: list[np.ndarray] | None = None,
    times: list[float] | None = None,
    standing: np.ndarray | None = None,
) -> dict:
    """case.json; driving: per frame [persons, 133, 3], as many persons in each; standing: the reference [133, 3]."""
    pictures = pictures or [scenery(0)] * len(driving)
    video_file(place / "dance.mp4", pictures, times or [i / 25 for i in range(len(driving))])
    np.savez(
        place / "poses.npz", driving=np.stack(driving), reference=(person(0.25) if standing is None else standing)[None]
    )
    words = ["--reference", place / "photo.png", "--driving", place / "dance.mp4", "--keypoints", place / "poses.npz"]
    words += ["--out", place / "case", "--size", f"{SIZE}x{SIZE}", "--overwrite", "--quiet", *flags]
    assert main([str(word) for word in words]) == 0
    return json.loads((place / "case" / "case.json").read_text())


def pose_image(place: Path, number: int) -> np.ndarray:
    with Image.open(place / "case" / "poses" / f"frame_{number}.png") as image:
        return np.asarray(image)


def warned(case: dict, words: str) -> str:
    return next(warning for warning in case["warnings"] if words in warning)


def runner(frames: int = 20) -> list[np.ndarray]:
    """Somebody who crosses the picture of 256 pixels, of which the output shows the half."""
    return [person(0.2, -40 + 15 * i, 10)[None] for i in range(frames)]


def test_who_leaves_the_picture_is_told_and_the_advice_helps(place):
    case = prepared(place, runner())
    inside, shares = case["inside"], np.array([row[0] for row in case["inside"]["frames"]])
    assert inside["body"] == pytest.approx(shares.mean(), abs=1e-3) and 0.2 < inside["body"] < 0.8
    assert inside["frames_outside"] == np.flatnonzero(shares == 0).tolist()
    assert len(case["frames_black"]) > 5 and set(case["frames_black"]) <= set(inside["frames_outside"])
    for number in (0, 10, 19):
        assert pose_image(place, number).any() == (number not in case["frames_black"])
    text = warned(case, "leaves the picture")
    poor = int((shares < 0.5).sum())
    assert f"in {poor} of 20 frames less than half" in text and "--anchor hips" in text
    held = prepared(place, runner(), "--anchor", "hips")
    assert held["inside"]["body"] == 1 and not held["frames_black"]
    assert not any("leaves the picture" in warning for warning in held["warnings"])
    Image.new("RGB", (5 * SIZE, SIZE)).save(place / "photo.png")  # more room
    wide = prepared(place, runner(), "--size", f"{5 * SIZE}x{SIZE}", standing=person(0.25, 2 * SIZE))
    assert wide["inside"]["body"] > 0.98 and not any("leaves the picture" in warning for warning in wide["warnings"])


def test_the_preview_says_how_much_is_inside(place):
    case = prepared(place, runner())
    with av.open(str(place / "case" / "preview.mp4")) as container:
        last = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    noted = [picture[-8:-1, 3 * SIZE :].max() > 130 for picture in last]  # light letters over a dimmed picture
    assert noted == [min(shares) < 1 for shares in case["inside"]["frames"]] and any(noted) and not all(noted)


def test_a_short_gap_is_filled_and_said(place):
    walking = [person(0.2, 30 + 2 * i, 10)[None] for i in range(10)]
    holes = [one.copy() for one in walking]
    holes[4][:], holes[5][:] = np.nan, np.nan
    case = prepared(place, holes)
    assert case["motion"]["filled_frames"] == 2 and case["motion"]["filled_points"] == 2 * 133
    assert case["frames_without_person"] == case["frames_black"] == []
    filled = [pose_image(place, number) for number in (4, 5)]
    prepared(place, walking)
    assert not (place / "case" / "persons.png").exists()
    for number, picture in zip((4, 5), filled, strict=True):
        assert np.abs(picture.astype(int) - pose_image(place, number)).max() <= 40
    bare = prepared(place, holes, "--no-fill")
    assert bare["frames_without_person"] == bare["frames_black"] == [4, 5] and bare["motion"]["filled_frames"] == 0


@pytest.mark.parametrize("score", [1.2, 2, 6])
def test_scores_above_one_change_no_colour(place, score):
    standing = person(0.2, 40, 10)
    standing[:, 2] = 1
    prepared(place, [standing[None]] * 3)
    expected = pose_image(place, 1)
    standing[:, 2] = score
    prepared(place, [standing[None]] * 3)
    np.testing.assert_array_equal(pose_image(place, 1), expected)


def test_people_are_numbered_and_chosen_by_number(place):
    pair = [np.stack([person(0.2, 20 + i, 10), person(0.15, 150 - i, 20)]) for i in range(6)]
    pair[0][1] = np.nan  # the second comes in the second frame
    case = prepared(place, pair)
    with Image.open(place / "case" / "persons.png") as picture:
        assert picture.size == (WIDTH, HEIGHT)
    assert "by the numbers in persons.png" in warned(case, "up to 2 persons")
    scale = case["alignment"]["scale"][1]
    other = prepared(place, pair, "--person", 1)
    assert other["alignment"]["scale"][1] == pytest.approx(scale * 0.2 / 0.15, rel=1e-3)
    assert other["frames_without_person"] == [0]
    assert prepared(place, pair, "--person", 0)["alignment"]["scale"][1] == pytest.approx(scale)


def test_a_scene_cut_is_told_and_the_advice_helps(place):
    driving = [person(0.2, 40, 10)[None]] * 6 + [person(0.2, 150, 10)[None]] * 6
    pictures = [scenery(1)] * 6 + [scenery(2)] * 6
    case = prepared(place, driving, pictures=pictures)
    assert case["motion"]["scene_cuts"] == case["motion"]["may_be_another_from"] == [6]
    advice = re.search("--frames [0-9:]+", warned(case, "a scene cut, at frame 6")).group().split()
    cut = prepared(place, driving, *advice, pictures=pictures)
    assert cut["frames"] == 6 and not cut["motion"]["scene_cuts"] and not cut["motion"]["may_be_another_from"]


def test_times_rate_and_duration_are_noted(place):
    case = prepared(place, runner(10))
    assert case["fps"] == pytest.approx(25) and case["time"]["duration"] == pytest.approx(0.4, abs=0.01)
    assert case["time"]["of_frames"] == pytest.approx([i / 25 for i in range(10)], abs=1e-3)
    assert not case["time"]["varying_rate"] and case["time"]["frames"] == 10


def test_an_uneven_video_keeps_its_speed(place):
    """Five frames at 10 a second and four at 2: by their times, each of the latter counts five times."""
    times = [i / 10 for i in range(5)] + [0.5 + i / 2 for i in range(4)]
    case = prepared(place, runner(9), times=times)
    assert case["fps"] == pytest.approx(10) and case["time"]["varying_rate"]
    assert case["frames"] == len(case["names"]) >= 21
    assert list(case["names"].values())[:5] == [f"dance.mp4#{i}" for i in range(5)]
    assert case["time"]["of_frames"][-1] == pytest.approx(2, abs=0.01)
    advice = re.search("another rate with (--fps)", warned(case, "varying frame rate")).group(1)
    assert prepared(place, runner(9), advice, 4, times=times)["fps"] == 4


def test_a_video_cut_short_becomes_a_case_of_what_is_there(place, monkeypatch):
    """Its index has a frame more than can be decoded."""

    def promising(*of: object) -> Timestamps:
        stamps = read_timestamps(*of)
        stamps.timeline.times.append(stamps.timeline.end)
        return stamps

    monkeypatch.setattr("sa.runtime.prepare.input.driving.read_timestamps", promising)
    case = prepared(place, runner(9))
    assert case["frames"] == 9 and warned(case, "has 10 frames, but 9 could be decoded")
    assert len(case["names"]) == len(case["time"]["of_frames"]) == len(case["inside"]["frames"]) == 9


def test_smoothing_is_told(place):
    shaking = [one + 2 * (number % 2) for number, one in enumerate(runner(9))]
    smoothing = prepared(place, shaking, "--smooth")["motion"]["smoothing"]
    assert smoothing["filter"] == "One Euro" and 0 < smoothing["median_pixels"] < 2
    assert prepared(place, shaking)["motion"]["smoothing"] is None


def test_seconds_a_frame_are_told_by_part(place):
    parts = prepared(place, runner(4))["seconds_a_frame"]
    assert set(parts) == {"poses", "motion", "drawing", "drawing: pose", "drawing: mask", "drawing: preview"}
    assert all(seconds > 0 for seconds in parts.values())


def test_upstream_fills_clips_and_reduces_nothing(place):
    """What is drawn is what was estimated, moved as published, at scores above 1 and in small outputs too."""
    driving = [person(0.2, 40 + 3 * i, 10)[None] for i in range(6)]
    driving[2][:], driving[4][..., 2] = np.nan, 1.2
    case = prepared(place, driving, "--compat", "upstream")
    scale, offset = (np.array(case["alignment"][of]) for of in ("scale", "offset"))
    for number in (1, 4):
        pose = to_pose(driving[number], WIDTH, HEIGHT).moved(scale, offset)
        np.testing.assert_array_equal(pose_image(place, number), draw_pose(pose, SIZE, SIZE))
    assert case["frames_black"] == [2] and not case["motion"]["filled_frames"]


def test_several_workers_draw_what_one_draws(place, monkeypatch):
    """The number of processors decides about speed alone."""
    drawn = []
    for cores in (1, 4):
        monkeypatch.setattr(preparation, "usable_cores", lambda cores=cores: cores)
        prepared(place, runner(9))
        drawn.append([pose_image(place, number) for number in range(9)])
    np.testing.assert_array_equal(*drawn)


def test_faces_tell_who_goes_on_after_a_cut(place):
    """Two people, a bright and a dark face. Behind the cut the bright one is the smaller, and is still followed."""
    face_recogniser(place / "models")
    pairs = [(person(0.22, 20, 10), person(0.12, 170, 30))] * 6 + [(person(0.12, 60, 30), person(0.22, 140, 10))] * 6
    pictures = []
    for number, pair in enumerate(pairs):
        picture = scenery(number // 6) // 4 + 96
        for one, level in zip(pair, (255, 0), strict=True):
            (left, top), (right, bottom) = one[23:91, :2].min(axis=0), one[23:91, :2].max(axis=0)
            picture[int(top) - 6 : int(bottom) + 6, int(left) - 6 : int(right) + 6] = level
        pictures.append(picture.astype(np.uint8))
    driving = [np.stack(pair) for pair in pairs]
    flags, found, widths = ("--anchor", "hips"), [], []
    for further in ((), ("--models", place / "models")):
        found.append(prepared(place, driving, *flags, *further, pictures=pictures)["motion"])
        widths.append(np.ptp(np.flatnonzero(pose_image(place, 8).any(axis=(0, 2)))))
    assert [motion["scene_cuts"] for motion in found] == [[6], [6]]
    assert [motion["may_be_another_from"] for motion in found] == [[6], []]
    assert widths[1] < 0.7 * widths[0]
