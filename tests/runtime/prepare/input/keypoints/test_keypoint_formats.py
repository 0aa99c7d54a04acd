"""Keypoints in every format that is read: written as their programs write them, and read back to the point."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hostile import archive, npy_header, npz
from prepare_data import person

from sa.runtime.errors import InputError
from sa.runtime.prepare.input.keypoints import file
from sa.runtime.prepare.input.keypoints.file import fit_warnings, read_keypoints, read_photo_keypoints
from sa.runtime.prepare.input.keypoints.layouts import FACE_MESH, LAYOUTS

WIDTH, HEIGHT = 640, 512
BODY, FEET, FACE, LEFT, RIGHT = slice(17), slice(17, 23), slice(23, 91), slice(91, 112), slice(112, 133)
HANDS = slice(91, 133)
FRAMES = 3


def moving(number: int) -> np.ndarray:
    """[133, 3]: a person of distinct points and scores, elsewhere in every frame."""
    points = person(1, 7 * number, 3 * number)
    points[:, 2] = 0.4 + np.arange(133) / 250
    return points


def in_order(points: np.ndarray, count: int) -> np.ndarray:
    """[133, 3] -> [count, 3] in the order of an estimator with so many points; what COCO lacks is at the origin."""
    ordered = np.zeros((count, 3))
    sources = LAYOUTS[count]
    ordered[sources[sources >= 0]] = points[sources >= 0]
    return ordered


def flat(points: np.ndarray) -> list[float]:
    return [float(value) for value in points.ravel()]


def openpose(points: np.ndarray, count: int) -> dict:
    people = {
        "pose_keypoints_2d": flat(in_order(points, count)),
        "face_keypoints_2d": flat(np.vstack([points[FACE], np.ones((2, 3))])),  # and the pupils
        "hand_left_keypoints_2d": flat(points[LEFT]),
        "hand_right_keypoints_2d": flat(points[RIGHT]),
    }
    return {"version": 1.3, "people": [{"person_id": [-1], **people}]}


def shares(points: np.ndarray) -> np.ndarray:
    return points / (WIDTH, HEIGHT, 1)


def comfy(points: np.ndarray) -> dict:
    found = openpose(shares(points), 18) | {"canvas_width": WIDTH, "canvas_height": HEIGHT}
    found["people"][0]["hand_left_keypoints_2d"] = None
    return found


def landmarks(points: np.ndarray) -> list[dict]:
    names = ("x", "y", "visibility")
    return [dict(zip(names, map(float, point), strict=True), z=0.0) for point in shares(points)]


def mediapipe(points: np.ndarray) -> dict:
    mesh = np.ones((478, 3))
    mesh[list(FACE_MESH)] = points[FACE]
    return {
        "pose_landmarks": landmarks(in_order(points, 33)),
        "face_landmarks": landmarks(mesh),
        "left_hand_landmarks": landmarks(points[LEFT]),
        "right_hand_landmarks": {"landmark": landmarks(points[RIGHT])},
    }


def unseen(points: np.ndarray) -> dict:
    """As mediapipe's classes write it: a face and hands have no visibility."""
    made = mediapipe(points)
    hand = made["right_hand_landmarks"]["landmark"]
    for one in (*made["face_landmarks"], *made["left_hand_landmarks"], *hand):
        one["visibility"] = 0.0
    return made


def mmpose(points: np.ndarray) -> dict:
    return {"keypoints": points[:, :2].tolist(), "keypoint_scores": points[:, 2].tolist(), "bbox_score": 0.9}


def coco(points: np.ndarray, number: int) -> dict:
    parts = {"keypoints": BODY, "foot_kpts": FEET, "face_kpts": FACE, "lefthand_kpts": LEFT, "righthand_kpts": RIGHT}
    return {"image_id": number, "category_id": 1, "score": 2.5, **{k: flat(points[v]) for k, v in parts.items()}}


def dwpose(points: np.ndarray) -> dict[str, np.ndarray]:
    whole = in_order(shares(points), 134)
    return {
        "candidate": whole[:18, :2],
        "subset": np.arange(18.0)[None],
        "score": whole[None, :18, 2],
        "faces": whole[None, 24:92, :2],
        "faces_score": whole[None, 24:92, 2],
        "hands": whole[92:, :2].reshape(2, 21, 2),
        "hands_score": whole[92:, 2].reshape(2, 21),
    }


def frames_of(make) -> list:
    return [make(moving(number)) for number in range(FRAMES)]


JSON_FORMATS = {  # what is written, and the points that it cannot hold
    "ComfyUI, shares": (frames_of(comfy), [FEET, LEFT]),
    "ComfyUI, pixels": ([openpose(moving(n), 18) for n in range(FRAMES)], [FEET]),
    "MMPose, frames from 1": (
        {
            "meta_info": {},
            "instance_info": [{"frame_id": n + 1, "instances": [mmpose(moving(n))]} for n in range(FRAMES)],
        },
        [],
    ),
    "AlphaPose, COCO": (
        [{"image_id": f"{n}.jpg", "keypoints": flat(moving(n)[BODY]), "score": 3.1} for n in range(FRAMES)],
        [FEET, FACE, HANDS],
    ),
    "AlphaPose, Halpe": (
        [{"image_id": f"{n}.jpg", "keypoints": flat(in_order(moving(n), 136))} for n in range(FRAMES)],
        [],
    ),
    "COCO-WholeBody results": ([coco(moving(n), n + 1) for n in range(FRAMES)], []),
    "AlphaPose, names with a number that stays": (
        [{"image_id": f"d_{n:04}_v2.png", "keypoints": flat(in_order(moving(n), 136))} for n in range(FRAMES)],
        [],
    ),
    "mediapipe, holistic": (frames_of(mediapipe), [[18, 21]]),  # which has no small toes
}
ARRAYS = {
    "our own": ({"driving": np.stack(frames_of(lambda p: p[None]))}, []),
    "our own, shares": ({"driving": np.stack(frames_of(lambda p: shares(p)[None]))}, []),
    "rtmlib": (
        {
            "keypoints": np.stack(frames_of(lambda p: p[None, :, :2])),
            "scores": np.stack(frames_of(lambda p: p[None, :, 2])),
        },
        [],
    ),
    "rtmlib, one person, OpenPose's order": (
        {
            "keypoints": np.stack(frames_of(lambda p: in_order(p, 134)[:, :2])),
            "scores": np.stack(frames_of(lambda p: in_order(p, 134)[:, 2])),
        },
        [],
    ),
    "DWPose, drawn": (
        {name: np.stack([dwpose(moving(n))[name] for n in range(FRAMES)]) for name in dwpose(moving(0))},
        [FEET],
    ),
    "DWPose, raw": (
        {
            "candidate": np.stack(frames_of(lambda p: in_order(p, 134)[None, :, :2])),
            "subset": np.stack(frames_of(lambda p: in_order(p, 134)[None, :, 2])),
        },
        [],
    ),
}


def check(path: Path, lacking: list) -> None:
    """Every frame is read to the point. What the format lacks is not there: it has score 0, far outside."""
    found = read_keypoints(path)
    found.check_length(FRAMES, path)
    for number in range(FRAMES):
        (points,) = found.of_frame(number, (WIDTH, HEIGHT))
        absent = np.zeros(133, bool)
        for part in lacking:
            absent[part] = True
        np.testing.assert_allclose(points[~absent], moving(number)[~absent], atol=1e-9)
        assert not points[absent, 2].any() and (points[absent, :2] < -1000).all()


@pytest.mark.parametrize("name", JSON_FORMATS)
def test_json_is_read_to_the_point(name, tmp_path):
    content, lacking = JSON_FORMATS[name]
    (tmp_path / "poses.json").write_text(json.dumps(content))
    check(tmp_path / "poses.json", lacking)


@pytest.mark.parametrize("name", ARRAYS)
def test_archives_are_read_to_the_point(name, tmp_path):
    arrays, lacking = ARRAYS[name]
    np.savez(tmp_path / "poses.npz", **arrays)
    check(tmp_path / "poses.npz", lacking)


@pytest.mark.parametrize(("count", "first"), [(18, 0), (25, 1)])
def test_a_folder_of_openposes_files_is_read_by_their_numbers(count, first, tmp_path):
    for number in range(FRAMES):
        content = json.dumps(openpose(moving(number), count))
        (tmp_path / f"dance2_{number + first:012}_keypoints.json").write_text(content)
    check(tmp_path, [FEET] if count == 18 else [])
    (tmp_path / f"dance2_{first + 1:012}_keypoints.json").unlink()
    with pytest.raises(InputError, match=f"has no file for frame {first + 1}: give one per frame"):
        read_keypoints(tmp_path)


def test_mediapipes_face_and_hands_that_say_0_are_there(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([unseen(moving(0))]))
    found = read_keypoints(tmp_path / "a.json")
    (points,) = found.of_frame(0, (WIDTH, HEIGHT))
    np.testing.assert_allclose(points[FACE][:, :2], moving(0)[FACE][:, :2])
    assert (points[FACE][:, 2] == 1).all() and (points[HANDS][:, 2] == 1).all() and found.driving.lacks == []


def test_a_photos_poses_are_those_of_one_picture(tmp_path):
    path = tmp_path / "photo.json"
    path.write_text(json.dumps(openpose(moving(0), 25)))
    np.testing.assert_allclose(read_photo_keypoints(path).of((WIDTH, HEIGHT))[0], moving(0))
    np.savez(tmp_path / "photo.npz", keypoints=moving(1)[None, :, :2], scores=moving(1)[None, :, 2])
    np.testing.assert_allclose(read_photo_keypoints(tmp_path / "photo.npz").of((WIDTH, HEIGHT))[0], moving(1))
    np.savez(tmp_path / "one.npz", driving=moving(2)[None, None], frames=np.array([30]))
    np.testing.assert_allclose(read_photo_keypoints(tmp_path / "one.npz").of((WIDTH, HEIGHT))[0], moving(2))
    path.write_text(json.dumps([openpose(moving(0), 25)] * 2))
    with pytest.raises(InputError, match="has poses of 2 pictures"):
        read_photo_keypoints(path)


def test_frames_without_an_entry_show_nobody_where_the_format_leaves_them_out(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps([coco(moving(n), n) for n in (0, 2)]))
    found = read_keypoints(tmp_path / "results.json")
    assert [len(found.of_frame(number, (WIDTH, HEIGHT))) for number in range(5)] == [1, 0, 1, 0, 0]
    (tmp_path / "results.json").write_text(json.dumps([coco(moving(n), n) for n in (5, 7)]))
    with pytest.raises(InputError, match="numbers 5 to 7, so which one is the first is unclear"):
        read_keypoints(tmp_path / "results.json")


def test_what_the_format_lacks_and_how_it_was_scaled_is_said(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([[landmarks(in_order(moving(n), 33))] * 2 for n in range(2)]))
    given = read_keypoints(tmp_path / "a.json")
    assert len(given.of_frame(1, (WIDTH, HEIGHT))) == 2  # persons
    scaled, lacking = fit_warnings(given.path, given.driving, (WIDTH, HEIGHT), photo=False)
    assert "its points are shares of the picture and were scaled to 640x512" in scaled
    assert "has no face and no hands: poses are drawn without" in lacking


def test_points_made_at_another_size_are_scaled_or_refused(tmp_path):
    """At half the size; and on pixels that are not square, as the video stores them."""
    arrays = {"driving": np.stack(frames_of(lambda p: (p / (2, 2, 1))[None])), "size": np.array([320, 256])}
    np.savez(tmp_path / "half.npz", **arrays)
    found = read_keypoints(tmp_path / "half.npz")
    np.testing.assert_allclose(found.of_frame(1, (WIDTH, HEIGHT))[0], moving(1))
    assert found.driving.told((WIDTH, HEIGHT)) == "its points were made on 320x256 and were scaled to 640x512"
    with pytest.raises(InputError, match=r"half.npz: its points were made on 320x256, but the picture is 512x512"):
        found.of_frame(1, (512, 512))
    narrow = {"driving": np.stack(frames_of(lambda p: (p / (2, 1, 1))[None])), "size": np.array([320, 512])}
    np.savez(tmp_path / "narrow.npz", **narrow)
    stored = read_keypoints(tmp_path / "narrow.npz").of_frame(2, (WIDTH, HEIGHT), stored=(320, 512))
    np.testing.assert_allclose(stored[0], moving(2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[[1, 2]]", "is JSON of a kind that is not known"),
        ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', "looks like poses, but cannot be read"),
        (
            '{"people": [{"pose_keypoints_2d": [1, 2, 1, 5, 6, 1]}]}',
            "a person has 2 points: known are orders of 17, 18",
        ),
        ('[{"image_id": "x.jpg", "keypoints": ' + str([1.0] * 51) + "}]", "'x.jpg' has no number of a frame"),
        ('[{"image_id": 1, "keypoints": ' + str([1e9] * 51) + "}]", "has points farther than 1e\\+05 pixels"),
        ('[[{"x": 0.1, "y": 0.1}]]', "a person has 1 landmarks instead of 33"),
        ("[" * 100_000, "is neither an .npz nor JSON"),
    ],
)
def test_what_is_no_pose_is_refused_with_its_reason(content, words, tmp_path):
    (tmp_path / "poses.json").write_text(content)
    with pytest.raises(InputError, match=words) as refused:
        read_keypoints(tmp_path / "poses.json")
    assert str(refused.value).startswith(f"{tmp_path}/poses.json")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"keypoints": np.zeros((2, 1, 133, 2)), "scores": np.zeros((2, 1, 17))}, "scores \\[2, 1, 17\\]: expected"),
        ({"keypoints": np.zeros((2, 1, 16, 2)), "scores": np.zeros((2, 1, 16))}, "a person has 16 points"),
        ({"candidate": np.zeros((17, 2)), "subset": np.zeros((1, 18))}, "candidate is \\[17, 2\\]"),
        ({"driving": np.zeros((2, 1, 133, 3)), "frames": np.array([3, 3])}, "expected the rising numbers of 2 frames"),
        ({"driving": np.zeros((2, 1, 133, 3)), "frames": np.array([0, np.nan])}, "expected the rising numbers"),
        ({"driving": np.zeros((2, 1, 133, 3)), "frames": np.array(["a", "b"])}, "not a whole .npz of plain"),
        ({"driving": np.zeros((2, 1, 133, 3)), "size": np.array([np.inf, np.inf])}, "expected width and height"),
        ({"driving": np.zeros((1, 501, 133, 3))}, "driving has 501 persons in a frame: 500 are the most"),
        ({"keypoints": np.full((2, 1, 17, 2), 1j), "scores": np.ones((2, 1, 17))}, "not a whole .npz of plain"),
        ({"candidate": np.zeros(()), "subset": np.zeros(())}, "looks like poses, but cannot be read"),
        ({"candidate": np.zeros((2, 18, 2)), "subset": np.zeros((2, 1, 17))}, "looks like poses, but cannot be read"),
        (
            {"candidate": np.zeros((2, 18, 2)), "subset": np.zeros((2, 1, 18)), "faces": np.zeros((1, 1, 68, 2))},
            "looks like poses, but cannot be read",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, words, tmp_path):
    np.savez(tmp_path / "poses.npz", **arrays)
    with pytest.raises(InputError, match=words):
        read_keypoints(tmp_path / "poses.npz")


def test_archives_that_claim_too_much_are_refused(tmp_path, monkeypatch):
    """A header of 10^18 numbers; arrays that unpack to more than the limit; a member that is no array."""
    path = tmp_path / "poses.npz"
    for content, words in (
        (npz(driving=npy_header("(1000000000, 1000000000)")), "memory|not a whole .npz"),
        (archive({"driving": b"text"}), "has no array driving"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_keypoints(path)
    monkeypatch.setattr(file, "ARRAYS_LIMIT", 1 << 20)
    np.savez_compressed(path, driving=np.zeros((400, 1, 133, 3)))
    with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
        read_keypoints(path)


@pytest.mark.parametrize("spoil", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/nonexistent")])
def test_a_folder_with_something_that_is_no_file_is_refused(spoil, tmp_path):
    (tmp_path / "0.json").write_text('{"people": []}')
    spoil(tmp_path / "1.json")
    with pytest.raises(InputError, match=r"1\.json is no file: remove it"):
        read_keypoints(tmp_path)


def test_a_canvas_of_no_picture_is_left_out(tmp_path):
    """Of 10^400 pixels, which is no float."""
    frame = {"people": [{"pose_keypoints_2d": [5.0] * 54}], "canvas_width": 10**400, "canvas_height": 10**400}
    (tmp_path / "poses.json").write_text(json.dumps(frame))
    assert read_keypoints(tmp_path / "poses.json").driving.size is None
