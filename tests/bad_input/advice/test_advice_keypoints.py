"""sa-prepare's advice on --keypoints and --reference-keypoints, each followed."""

import json
from pathlib import Path

import numpy as np
from following import NETWORKS, Advice, Cure, check, each_cure, earlier, keypoints, networks
from prepare_data import person, picture_file
from spoiling import Spoil, all_of, remove, write

from sa.runtime.prepare.input.keypoints import file as keypoints_file
from sa.runtime.prepare.input.keypoints import poses

ORDER = (0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)  # COCO-WholeBody's, but for the neck
JSON = {"--keypoints": "{place}/poses.json", "--reference-keypoints": "{place}/standing.npz"}
FOLDER = JSON | {"--keypoints": "{place}/json"}
PHOTO = {"--reference-keypoints": "{place}/standing.json"}


def openpose(body: int = 18, face: int = 0) -> dict:
    """A frame of one person with so many body points, and perhaps face points."""
    points = person(0.25)[np.resize(ORDER, body)]
    points[1] = person(0.25)[[5, 6]].mean(axis=0)
    entry = {"pose_keypoints_2d": points.ravel().tolist()}
    if face:
        entry["face_keypoints_2d"] = np.resize(person(0.25)[23:91], (face, 3)).ravel().tolist()
    return {"people": [entry]}


def mediapipe(points: int) -> list[dict]:
    return [{"x": 0.3 + 0.01 * number, "y": 0.2 + 0.02 * number, "visibility": 0.9} for number in range(points)]


def alphapose(*names: object) -> list[dict]:
    return [{"image_id": name, "keypoints": person(0.25)[:17].ravel().tolist()} for name in names]


def as_json(content: object, name: str = "poses.json") -> Spoil:
    return write(name, json.dumps(content))


def standing(place: Path) -> None:
    np.savez(place / "standing.npz", reference=person(0.25)[None])


def json_folder(**frames: object) -> Spoil:
    """A file in json/ for each: _0 is frame 0."""
    return all_of(*(as_json(content, f"json/pose_{name[1:]}.json") for name, content in frames.items()))


def damaged_case(name: str) -> Spoil:
    return lambda place: (place / name / "case.json").write_text("{}")


def wider_frames(place: Path) -> None:
    for number in range(2):
        picture_file(place / "frames" / f"f{number}.png", 256, 128, seed=number)


ONE = len(json.dumps([openpose()]))
CASE = {"--keypoints": "{place}/first"}
FEWER = "keep its first frames, and take those of the video with --frames"

ROWS = [
    Advice(
        "(No such file or directory): give an .npz or JSON of a known estimator",
        (Cure(flags={"--keypoints": "{place}/poses.npz"}),),
        flags={"--keypoints": "{place}/absent.npz"},
    ),
    Advice("is neither an .npz nor JSON: give an .npz or JSON", (Cure(keypoints()),), write("poses.npz", "hello")),
    Advice(
        "is JSON of a kind that is not known: give an .npz or JSON",
        (Cure(as_json([openpose()] * 2)), Cure(flags={"--keypoints": "{place}/poses.npz"})),
        all_of(standing, as_json({"poses": 1})),
        JSON,
    ),
    Advice(
        "looks like poses, but cannot be read",
        (Cure(as_json([openpose()] * 2)),),
        all_of(standing, as_json({"people": [{"pose_keypoints_2d": "none"}]})),
        JSON,
    ),
    Advice(
        "has no array driving: --keypoints takes an .npz with driving",
        (Cure(keypoints()),),
        lambda place: np.savez(place / "poses.npz", reference=person(0.25)[None]),
    ),
    Advice(
        "is not a whole .npz of plain arrays of numbers: --keypoints takes an .npz with driving",
        (Cure(keypoints()),),
        lambda place: np.savez(place / "poses.npz", driving=np.array([None]), allow_pickle=True),
    ),
    Advice(
        "driving is float64 [2, 1, 17, 3]: --keypoints takes an .npz with driving",
        (Cure(keypoints()),),
        keypoints(np.zeros((2, 1, 17, 3))),
    ),
    # Too much for one file
    Advice(
        f"MiB: {FEWER}",
        (Cure(as_json([openpose()]), {"--frames": "0:1"}),),
        all_of(standing, as_json([openpose()] * 2)),
        JSON,
        (keypoints_file, "JSON_LIMIT", ONE),
    ),
    Advice(
        f"MiB: {FEWER}",
        (Cure(remove("json/pose_1.json"), {"--frames": "0:1"}),),
        all_of(standing, json_folder(_0=openpose(), _1=openpose())),
        FOLDER,
        (keypoints_file, "JSON_LIMIT", ONE),
    ),
    Advice(
        f"unpacks to more than 0 MiB: {FEWER}",
        (Cure(keypoints([person(0.25)]), {"--frames": "0:1"}),),
        patch=(keypoints_file, "ARRAYS_LIMIT", 2 * 133 * 3 * 8 + 600),
    ),
    *(
        Advice(
            f"has 2 frames: 1 are the most; {FEWER}",
            (Cure(one, {"--frames": "0:1"}),),
            all_of(standing, two),
            flags,
            (poses, "MOST_FRAMES", 1),
        )
        for one, two, flags in (
            (as_json([openpose()]), as_json([openpose()] * 2), JSON),
            (as_json([mediapipe(33)]), as_json([mediapipe(33)] * 2), JSON),
            (as_json(alphapose("0.png")), as_json(alphapose("0.png", "1.png")), JSON),
            (remove("json/pose_1.json"), json_folder(_0=openpose(), _1=openpose()), FOLDER),
            (keypoints([person(0.25)]), keypoints(), {}),
        )
    ),
    # One entry for every frame
    Advice(
        "give one entry per frame of the whole source; --frames takes the same ones of both",
        (Cure(keypoints()), Cure(flags={"--frames": "0:1"})),
        keypoints([person(0.25)]),
    ),
    Advice(
        "has 2 frames: give one entry per frame of the whole source",
        (Cure(keypoints()),),
        keypoints([person(0.25)] * 3),
    ),
    Advice(
        "as it was made with other --frames: take frames that it has, or make it again",
        (Cure(flags={"--frames": "0:1"}), Cure(earlier("first"))),
        earlier("first", frames="0:1"),
        CASE,
    ),
    Advice(
        "{place}/json/pose_2.json is no file: remove it, or give a folder with a JSON per frame",
        (Cure(remove("json/pose_2.json")),),
        all_of(standing, json_folder(_0=openpose(), _1=openpose()), lambda place: (place / "json/pose_2.json").mkdir()),
        FOLDER,
    ),
    Advice(
        "holds no JSON: give an .npz or JSON of a known estimator",
        (Cure(json_folder(_0=openpose(), _1=openpose())), Cure(flags={"--keypoints": "{place}/poses.npz"})),
        all_of(standing, lambda place: (place / "json").mkdir()),
        FOLDER,
    ),
    Advice(
        "has no file for frame 1: give one per frame, numbered from 0 or from 1",
        (
            Cure(json_folder(_1=openpose())),
            Cure(all_of(remove("json/pose_0.json"), json_folder(_1=openpose()))),
        ),
        all_of(standing, json_folder(_0=openpose(), _2=openpose())),
        FOLDER | {"--frames": "0:2"},
    ),
    Advice(
        "has several frames: give one per file, or that file alone",
        (
            Cure(json_folder(_0=openpose())),
            Cure(flags={"--keypoints": "{place}/json/pose_0.json"}),
        ),
        all_of(standing, json_folder(_0=[openpose()] * 2, _1=openpose())),
        FOLDER,
    ),
    Advice(
        "so which one is the first is unclear: number them from 0 or from 1",
        (Cure(as_json(alphapose("f0.png", "f1.png"))), Cure(as_json(alphapose("f1.png", "f2.png")))),
        all_of(standing, as_json(alphapose("f7.png", "f8.png"))),
        JSON,
    ),
    Advice(
        "its frames' names have different counts of numbers: name the frames alike",
        (Cure(as_json(alphapose("f0.png", "f1.png"))),),
        all_of(standing, as_json(alphapose("f0.png", "f1_2.png"))),
        JSON,
    ),
    Advice(
        "has no number of a frame: name the frames by numbers",
        (Cure(as_json(alphapose("0.png", "1.png"))),),
        all_of(standing, as_json(alphapose("first.png"))),
        JSON,
    ),
    Advice(
        "has poses of 2 pictures: --reference-keypoints takes those of the photo alone",
        (Cure(as_json(openpose(), "standing.json")),),
        as_json([openpose()] * 2, "standing.json"),
        PHOTO,
    ),
    # Points
    Advice(
        "has 19 points: known are orders of 17, 18, 25",
        (Cure(as_json([openpose()] * 2)), Cure(as_json([openpose(25)] * 2))),
        all_of(standing, as_json([openpose(19)] * 2)),
        JSON,
    ),
    Advice(
        "a face, hand or foot has 67 points instead of 68",
        (Cure(as_json([openpose(face=68)] * 2)), Cure(as_json([openpose(face=70)] * 2))),
        all_of(standing, as_json([openpose(face=67)] * 2)),
        JSON,
    ),
    Advice(
        "has 32 landmarks instead of 33",
        (Cure(as_json([mediapipe(33)] * 2)),),
        all_of(standing, as_json([mediapipe(32)] * 2)),
        JSON,
    ),
    Advice(
        "500 are the most, leave those with low scores out",
        (Cure(keypoints()),),
        keypoints(np.stack([[person(0.25)] * 501] * 2)),
    ),
    Advice(
        "from the picture: give pixels, and NaN for what was not found",
        (
            Cure(keypoints()),
            Cure(keypoints([np.where(np.arange(133)[:, None] < 91, person(0.25), np.nan)] * 2)),
        ),
        keypoints([np.where(np.arange(133)[:, None] < 91, person(0.25), 1e9)] * 2),
    ),
    Advice(
        "which has another shape: give the picture they were made on",
        (Cure(wider_frames),),
        keypoints(size=np.array([512, 256])),
    ),
    # An earlier case
    Advice(
        "does not say what the case was made from: give another case",
        (Cure(earlier("second"), {"--keypoints": "{place}/second"}),),
        all_of(earlier("first"), damaged_case("first")),
        CASE,
    ),
    Advice(
        "is a case without keypoints.npz: give --keypoints another case, or --models DIR in its place",
        (Cure(earlier("second"), {"--keypoints": "{place}/second"}), Cure(networks, NETWORKS)),
        all_of(earlier("first"), remove("first/keypoints.npz")),
        CASE,
    ),
]


@each_cure(ROWS)
def test_advice_is_followed(advice, cure, place, monkeypatch, capsys):
    check(advice, cure, place, monkeypatch, capsys)
