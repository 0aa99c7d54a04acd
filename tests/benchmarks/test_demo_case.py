"""The demo's drawn case: its files, its repeatability, and that skeleton, person and masks agree."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sa.benchmarks import demo_case

FRAMES, HEIGHT, WIDTH, REFERENCE = 5, 64, 96, 80


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def pixel(image: Image.Image, at: np.ndarray) -> np.ndarray:
    """The colour [3] at `at`, given as fractions of the picture."""
    x, y = (at * image.size).astype(int)
    return np.array(image.getpixel((int(x), int(y))))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "not" / "there" / "yet"
    demo_case.draw_case(folder, FRAMES, HEIGHT, WIDTH, REFERENCE)
    return folder


def test_writes_exactly_the_files_of_a_case(case: Path) -> None:
    frames = [f"{part}/frame_{i}.png" for part in ("faces", "poses") for i in range(FRAMES)]
    expected = sorted([*frames, "identity.npy", "reference.png", "reference_mask.png"])
    assert sorted(p.relative_to(case).as_posix() for p in case.rglob("*") if p.is_file()) == expected


def test_sizes_and_modes(case: Path) -> None:
    expected = {"reference.png": ("RGB", (REFERENCE, REFERENCE))}
    expected["reference_mask.png"] = ("L", (REFERENCE, REFERENCE))
    for i in range(FRAMES):
        expected[f"poses/frame_{i}.png"] = ("RGB", (WIDTH, HEIGHT))
        expected[f"faces/frame_{i}.png"] = ("L", (WIDTH, HEIGHT))
    for name, (mode, size) in expected.items():
        with Image.open(case / name) as image:
            assert (image.mode, image.size) == (mode, size), name


def test_defaults(tmp_path: Path) -> None:
    demo_case.draw_case(tmp_path)
    assert len(list((tmp_path / "poses").iterdir())) == 12
    assert picture(tmp_path / "reference.png").shape == (256, 256, 3)
    assert picture(tmp_path / "poses" / "frame_11.png").shape == (128, 128, 3)


def test_drawing_twice_gives_the_same_bytes(case: Path, tmp_path: Path) -> None:
    demo_case.draw_case(tmp_path, FRAMES, HEIGHT, WIDTH, REFERENCE)
    for first in (p for p in case.rglob("*") if p.is_file()):
        assert first.read_bytes() == (tmp_path / first.relative_to(case)).read_bytes(), first.name


def test_identity_is_a_fixed_vector_of_length_twenty(case: Path) -> None:
    vector = np.load(case / "identity.npy")
    assert vector.dtype == np.float32 and vector.shape == (512,)
    assert np.linalg.norm(vector) == pytest.approx(20, abs=1e-3)
    assert len(np.unique(vector)) == 512


# Some limbs as OpenPose colours them, darkened to 60 %: person's right is red to yellow, left is green.
@pytest.mark.parametrize(
    ("start", "end", "colour"),
    [
        ("neck", "right shoulder", (153, 0, 0)),
        ("neck", "left shoulder", (153, 51, 0)),
        ("right shoulder", "right elbow", (153, 102, 0)),
        ("right elbow", "right wrist", (153, 153, 0)),
        ("left shoulder", "left elbow", (102, 153, 0)),
        ("left elbow", "left wrist", (51, 153, 0)),
        ("neck", "right hip", (0, 153, 0)),
        ("right hip", "right knee", (0, 153, 51)),
        ("neck", "left hip", (0, 153, 153)),
        ("left hip", "left knee", (0, 102, 153)),
    ],
)
def test_limbs_have_their_colours(start: str, end: str, colour: tuple[int, int, int]) -> None:
    posture = demo_case.posture_at(1.0)
    pose = demo_case.draw_pose(posture, 512, 512)
    middle = (posture.body[start] + posture.body[end]) / 2
    assert np.abs(pixel(pose, middle) - colour).max() <= 12


def test_joints_are_bright_hands_blue_and_face_white(case: Path) -> None:
    posture = demo_case.posture_at(0.0)
    pose = demo_case.draw_pose(posture, 1024, 1024)
    assert np.abs(pixel(pose, posture.body["right elbow"]) - (255, 255, 0)).max() <= 12
    assert np.abs(pixel(pose, posture.body["left hip"]) - (0, 85, 255)).max() <= 12
    for at in posture.hands.reshape(-1, 2):
        assert np.abs(pixel(pose, at) - (0, 0, 255)).max() <= 40
    for at in posture.face:
        assert pixel(pose, at).min() >= 200
    for i in range(FRAMES):
        background = (picture(case / "poses" / f"frame_{i}.png").max(axis=2) == 0).mean()
        assert 0.5 < background < 0.95


def test_shoulders_and_ears_are_not_joined() -> None:
    posture = demo_case.posture_at(0.0)
    pose = demo_case.draw_pose(posture, 512, 512)
    for side in ("right", "left"):
        between = 0.3 * posture.body[f"{side} ear"] + 0.7 * posture.body[f"{side} shoulder"]
        assert pixel(pose, between).max() == 0


def test_every_frame_differs_from_every_other(case: Path) -> None:
    poses = {(case / "poses" / f"frame_{i}.png").read_bytes() for i in range(FRAMES)}
    assert len(poses) == FRAMES


@pytest.mark.parametrize("frames", [4, 8, 12, 16])
def test_the_hand_waves_smoothly_round_a_closed_loop(frames: int) -> None:
    postures = [demo_case.posture_at(2 * np.pi * i / frames) for i in range(frames + 1)]
    assert np.allclose(postures[0].hands, postures[-1].hands)
    tips = np.stack([posture.hands[1, 12] for posture in postures])
    assert np.ptp(tips[:, 0]) > 0.1  # visible
    steps = np.linalg.norm(np.diff(tips, axis=0), axis=1)
    assert steps.max() < 2.0 / frames  # no jump: two waves of about half a picture's path each


def test_the_skeleton_lies_on_the_person() -> None:
    posture = demo_case.posture_at(0.0)
    person = demo_case.draw_person(posture, 256)
    expected = {
        demo_case.INK: [posture.body[name] + (0, 0.006) for name in ("right eye", "left eye")],
        demo_case.JUMPER: [posture.body[name] for name in ("right shoulder", "right elbow", "left elbow")],
        demo_case.TROUSERS: [posture.body[name] for name in ("right knee", "left knee")],
        demo_case.SKIN: list(posture.hands[:, 9]),
    }
    for colour, places in expected.items():
        for at in places:
            assert np.abs(pixel(person, at) - colour).max() <= 12, (colour, at)


def test_frame_zero_shows_the_posture_of_the_reference(case: Path) -> None:
    first = demo_case.posture_at(0.0)
    assert np.array_equal(picture(case / "reference.png"), np.asarray(demo_case.draw_person(first, REFERENCE)))
    pose = np.asarray(demo_case.draw_pose(first, HEIGHT, WIDTH))
    assert np.array_equal(picture(case / "poses" / "frame_0.png"), pose)


def test_masks_are_one_filled_box_about_the_face(case: Path) -> None:
    masks = [(case / "reference_mask.png", 0.0)]
    masks += [(case / "faces" / f"frame_{i}.png", 2 * np.pi * i / FRAMES) for i in range(FRAMES)]
    for path, phase in masks:
        mask, posture = picture(path), demo_case.posture_at(phase)
        assert set(np.unique(mask)) == {0, 255}
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        assert (mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 255).all()
        face = [posture.body[name] for name in ("nose", "right eye", "left eye", "right ear", "left ear")]
        x, y = (np.array([*face, *posture.face]) * mask.shape[::-1]).astype(int).T
        assert (mask[y, x] == 255).all(), path.name
        assert (mask == 255).mean() < 0.15
