"""sa-prepare's advice on who is seen, how the poses fit, and poses that are drawn already, each followed."""

from pathlib import Path

import av
import numpy as np
from following import Advice, Cure, check, each_cure, hidden, keypoints, networks, without
from PIL import Image
from prepare_data import person, picture_file, video_file
from spoiling import Spoil, all_of, remove, write_image

from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.whole_body import to_pose

LEGS, FACE, NOSE_AND_EYES = [*range(11, 23)], slice(23, 91), [0, 1, 2]
NOBODY = np.full((133, 3), np.nan)
UPSTREAM = {"--compat": "upstream"}


def from_behind() -> np.ndarray:
    return hidden(person(0.25), NOSE_AND_EYES)


def head() -> np.ndarray:
    """[133, 3]: all that is seen is the head."""
    return hidden(person(0.25), slice(5, 23))


def long_legs() -> np.ndarray:
    """[133, 3]: everything from the hips down is twice as far below them."""
    found = person(0.2)
    hips = found[[11, 12], 1].mean()
    found[LEGS, 1] = hips + 2 * (found[LEGS, 1] - hips)
    return found


def crooked() -> np.ndarray:
    """[133, 3]: every second body point is misplaced."""
    found = person(0.25)
    found[1:17:2, :2] = found[1:17:2, :2][::-1]
    return found


def two(frames: int = 2) -> np.ndarray:
    """[frames, 2, 133, 3]: a large and a small person."""
    return np.stack([[person(0.2), person(0.1, 70)]] * frames)


def exchanged() -> np.ndarray:
    """[12, 2, 133, 3]: the larger one jumps, so that it may be another; a small one stays."""
    return np.stack([[person(0.12, 25 * (number >= 6)), person(0.05, 95, 90)] for number in range(12)])


def more_frames(count: int) -> Spoil:
    def make(place: Path) -> None:
        for number in range(count):
            picture_file(place / "frames" / f"f{number}.png", 128, 128)

    return make


def skeletons(place: Path, sides: tuple[int, ...] = (128, 128)) -> None:
    """poses/ with drawn poses, as large as these sides."""
    (place / "poses").mkdir(exist_ok=True)
    for number, side in enumerate(sides):
        drawn = draw_pose(to_pose(person(0.25)[None], 128, 128), side, side)
        Image.fromarray(drawn).save(place / "poses" / f"frame_{number}.png")


def skeleton_video(place: Path) -> None:
    skeletons(place)
    pictures = [np.asarray(Image.open(place / "poses" / f"frame_{number}.png")) for number in range(2)]
    video_file(place / "dance.mp4", pictures, [0, 0.04])
    for number in range(2):
        (place / "poses" / f"frame_{number}.png").unlink()


def video_as_pictures(place: Path) -> None:
    with av.open(str(place / "dance.mp4")) as container:
        for number, frame in enumerate(container.decode(video=0)):
            frame.to_image().save(place / "poses" / f"frame_{number}.png")


def no_pictures(place: Path) -> None:
    for number in range(2):
        picture_file(place / "poses" / f"frame_{number}.png", 128, 128, seed=number)


def black(*numbers: int) -> Spoil:
    return all_of(*(write_image(f"poses/frame_{number}.png", 128, 128) for number in numbers))


READY = {"--driving": None, "--keypoints": None, "--poses-ready": "{place}/poses"}

REFERENCES = [
    Advice(
        "shows no person: no body point was found in it; give --reference a photo of a person",
        (Cure(keypoints()),),
        keypoints(reference=np.zeros((0, 133, 3))),
    ),
    Advice(
        "persons: the largest is taken; choose another with --reference-person",
        (Cure(flags={"--reference-person": "1"}),),
        keypoints(reference=two()[0]),
    ),
    Advice(
        "--reference-person 2: {place}/photo.png shows 2 persons, counted from 0",
        (Cure(flags={"--reference-person": "1"}),),
        keypoints(reference=two()[0]),
        {"--reference-person": "2"},
    ),
    Advice(
        "but neither nose nor eyes: give --reference a photo whose face is visible, or --identity none",
        (Cure(keypoints()), Cure(flags={"--identity": "none"})),
        all_of(networks, keypoints(reference=from_behind()[None])),
        {"--models": "{place}/models"},
    ),
    Advice(
        "neither the face detector nor the pose found one; give --reference a photo whose face is visible",
        (Cure(keypoints()), Cure(flags={"--identity": "none"})),
        all_of(lambda place: networks(place, face=False), keypoints(reference=hidden(person(0.25), FACE)[None])),
        {"--models": "{place}/models"},
    ),
    Advice(
        "put scrfd_10g_bnkps.onnx there, give --reference a photo whose face is visible, or --identity none",
        (Cure(networks), Cure(keypoints()), Cure(flags={"--identity": "none"})),
        all_of(without("antelopev2/scrfd_10g_bnkps.onnx"), keypoints(reference=hidden(person(0.25), FACE)[None])),
        {"--models": "{place}/models"},
    ),
    Advice(
        "no identity.npy was made, as --models is not given: give it here",
        (Cure(networks, {"--models": "{place}/models"}), Cure(flags={"--identity": "none"})),
    ),
    Advice(
        "no faces/ were made: the published masks need a face detector, give --models",
        (Cure(networks, {"--models": "{place}/models"}),),
        flags=UPSTREAM,
    ),
]

PEOPLE = [
    Advice(
        "no driving frame shows a person: give --driving a video of a person",
        (Cure(keypoints()),),
        keypoints([NOBODY] * 2),
    ),
    Advice(
        "--person 3: no driving frame shows so many persons, at most 2, counted from 0",
        (Cure(flags={"--person": "1"}),),
        keypoints(two()),
        {"--person": "3"},
    ),
    Advice(
        "all are drawn, as published; leave out --compat upstream to follow one",
        (Cure(flags={"--compat": None, "--person": "1"}),),
        all_of(more_frames(3), keypoints(np.concatenate([two(2), np.stack([[person(0.2), NOBODY]])]))),
        UPSTREAM,
    ),
    Advice(
        "on: look at preview.mp4, and choose with --person or cut with --frames",
        (Cure(flags={"--person": "1"}), Cure(flags={"--frames": "0:6"})),
        all_of(more_frames(12), keypoints(exchanged())),
    ),
    Advice(
        "show nobody to follow: their poses are black; cut them off with --frames",
        (Cure(flags={"--frames": "0:1"}),),
        keypoints([person(0.25), NOBODY]),
    ),
    Advice(
        "which is made up; choose a driving video from the front, or cut with --frames",
        (Cure(keypoints()), Cure(flags={"--frames": "0:1"})),
        keypoints([person(0.25), from_behind()]),
    ),
    Advice(
        "which is made up; choose a reference from the front",
        (Cure(keypoints()),),
        keypoints(reference=from_behind()[None]),
    ),
]

FITS = [
    Advice(
        "choose a reference or a driving video that shows more of the body",
        (Cure(keypoints()),),
        keypoints([hidden(head(), [3, 4])] * 2),
    ),
    Advice(
        "choose a reference or a driving video that shows more of the body",
        (Cure(keypoints()),),
        keypoints(reference=hidden(head(), [3, 4])[None]),
    ),
    Advice(
        "choose a driving video that shows as much of the body as the reference does",
        (Cure(keypoints()),),
        keypoints([hidden(person(0.25), [*range(5), *range(13, 17)])] * 2),
    ),
    Advice(
        "choose a reference that stands more like the driving person, or another --person",
        (Cure(keypoints()), Cure(flags={"--person": "1"})),
        keypoints(np.stack([[person(0.25), crooked()]] * 2), crooked()[None]),
    ),
    Advice(
        "take the reference's proportions with --retarget limbs",
        (Cure(flags={"--retarget": "limbs"}),),
        keypoints(reference=long_legs()[None]),
    ),
    Advice(
        "leave it out, or choose a reference and a driving video that show them",
        (Cure(flags={"--anchor": None}), Cure(keypoints())),
        keypoints([head()] * 2, head()[None]),
        {"--anchor": "hips"},
    ),
    Advice(
        "needs: give another --reference, or run without --compat upstream",
        (Cure(keypoints()), Cure(flags={"--compat": None})),
        keypoints(reference=hidden(person(0.25), [0, 1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16])[None]),
        UPSTREAM,
    ),
    Advice(
        "needs: give another --driving, or run without --compat upstream",
        (Cure(keypoints()), Cure(flags={"--compat": None})),
        keypoints(two()),
        UPSTREAM,
    ),
    Advice(
        "(frame 0, 1): choose a photo with more room around the person",  # --anchor hips is not as published
        (Cure(keypoints([person(0.25, -90), person(0.25, 90)], person(0.08, 44, 44)[None])),),
        keypoints([person(0.25, -90), person(0.25, 90)]),
        UPSTREAM,
    ),
]

DRAWN = [
    Advice(
        "if these are the poses, write its frames into a folder as PNG files and give that as --poses-ready instead of",
        (Cure(video_as_pictures, READY),),
        skeleton_video,
        {"--driving": "{place}/dance.mp4"},
    ),
    Advice(
        "--poses-ready were drawn for one photo: give one --reference",
        (Cure(flags={"--reference": "{place}/photo.png"}),),
        skeletons,
        READY | {"--reference": ("{place}/photo.png", "{place}/photo.png")},
    ),
    *(
        Advice(
            f"--poses-ready takes them as they are: leave {flag} out",
            (Cure(flags={flag: None}),),
            skeletons,
            READY | {flag: value},
        )
        for flag, value in (
            ("--frames", "0:1"),
            ("--no-fill", ""),
            ("--reference-person", "0"),
            ("--keypoints", "{place}/poses.npz"),
        )
    ),
    Advice("give poses of one size", (Cure(skeletons),), lambda place: skeletons(place, (128, 64)), READY),
    Advice(
        "of another shape: cut the photo to the part that the poses were drawn for",
        (Cure(write_image("photo.png", 128, 128)),),
        all_of(skeletons, write_image("photo.png", 256, 128)),
        READY,
    ),
    Advice(
        "skeletons drawn on black: run sa-prepare on them, which draws the poses",
        (Cure(flags={"--poses-ready": None, "--driving": "{place}/poses", "--keypoints": "{place}/poses.npz"}),),
        all_of(skeletons, no_pictures),
        READY,
    ),
    Advice(
        "all other poses are black: give poses that show a person",
        (Cure(skeletons),),
        all_of(skeletons, black(0, 1)),
        READY,
    ),
    Advice(
        "draw them, or leave them out",
        (Cure(skeletons), Cure(remove("poses/frame_1.png"))),
        all_of(skeletons, lambda place: picture_file(place / "poses/frame_1.png", 128, 128)),
        READY,
    ),
]

ROWS = [*REFERENCES, *PEOPLE, *FITS, *DRAWN]


@each_cure(ROWS)
def test_advice_is_followed(advice, cure, place, monkeypatch, capsys):
    check(advice, cure, place, monkeypatch, capsys)
