"""What sa-run --refine says of engines, a case or a flag that it cannot use; nothing is added or changed."""

from pathlib import Path

import numpy as np
import pytest
from command_lines import CASE, copied, fails, run_arguments
from PIL import Image
from spoiling import Row, Spoil, all_of, check, copy, cut, each, remove, without_engine, write_image


def blacken(name: str) -> Spoil:
    """All of a mask black: it marks nothing."""

    def spoil(place: Path) -> None:
        Image.fromarray(np.zeros_like(np.asarray(Image.open(place / name)))).save(place / name)

    return spoil


# Refused before anything is read: there are no engines here, and no case.
FLAG_ROWS = [
    Row(
        "a flag without --refine",
        "--refine-iters says how to refine: give it with --refine.",
        flags=("--refine-iters", "2"),
    ),
    Row("a negative start", "--refine-start must be 0 to 999, not -1.", flags=("--refine", "--refine-start", "-1")),
    Row(
        "a start behind the last step",
        "--refine-start must be less than --steps 1, not 1.",
        flags=("--refine", "--refine-start", "1"),
    ),
    Row(
        "an end before the start",
        "--refine-end must be 0 (the first step refined) or more, not -1.",
        flags=("--refine", "--refine-end", "-1"),
    ),
    Row("no iterations", "--refine-iters must be 1 to 1000, not 0.", flags=("--refine", "--refine-iters", "0")),
    Row("every zeroth step", "--refine-every must be 1 to 1000, not 0.", flags=("--refine", "--refine-every", "0")),
    Row(
        "a rate of nothing",
        "--refine-rate must be more than 0 and at most 10, not 0.0.",
        flags=("--refine", "--refine-rate", "0"),
    ),
    Row(
        "an unknown preset",
        "there is no refinement preset 'slow': choose published, balanced, fast.",
        flags=("--refine", "--refine-preset", "slow"),
    ),
    Row(
        "a tolerance of 1",
        "--refine-tolerance must be 0 or more and less than 1, not 1.0.",
        flags=("--refine", "--refine-tolerance", "1"),
    ),
    Row(
        "a tolerance that is none",
        "--refine-tolerance must be 0 or more and less than 1, not nan.",
        flags=("--refine", "--refine-tolerance", "nan"),
    ),
    Row(
        "a gradient without --refine",
        "--refine-gradient says how to refine: give it with --refine.",
        flags=("--refine-gradient", "window"),
    ),
]

# With --refine.
CASE_ROWS = [
    Row(
        "no masks of the frames",
        "{place}/case/faces is missing: --refine needs the face marked in the reference and in every frame; "
        "add the masks, or run without --refine.",
        remove("case/faces"),
    ),
    Row(
        "no mask of the reference",
        "{place}/case/reference_mask.png is missing: "
        "--refine needs the face marked in the reference and in every frame; add the masks, or run without --refine.",
        remove("case/reference_mask.png"),
    ),
    Row(
        "a mask too few",
        "{place}/case/faces has no mask of number 2, the number of {place}/case/poses/frame_2.png: give every pose the "
        "mask of its number, or run without --refine.",
        remove("case/faces/frame_2.png"),
    ),
    Row(
        "a truncated mask",
        "{place}/case/faces/frame_2.png is damaged or cut short; expected a whole image, replace it.",
        cut("case/faces/frame_2.png", 30),
    ),
    Row(
        "a reference mask of another size",
        "{place}/case/reference_mask.png is 240x255, the reference is 240x256: "
        "make the mask at the reference's own size.",
        write_image("case/reference_mask.png", 240, 255, mode="L"),
    ),
    Row(
        "a truncated reference mask",
        "{place}/case/reference_mask.png is damaged or cut short; expected a whole image, replace it.",
        cut("case/reference_mask.png", 30),
    ),
    Row(
        "a photo for a reference mask",
        "{place}/case/reference_mask.png is a picture in shades, 99% of it neither black nor white: expected a mask, "
        "white where the face is and black elsewhere.",
        copy("case/reference.png", "case/reference_mask.png"),
    ),
    Row(
        "a reference without a face",
        "{place}/case/reference_mask.png marks no face: "
        "expected the reference's face in white on black (128 or brighter); mark it, or run without --refine.",
        blacken("case/reference_mask.png"),
    ),
    Row(
        "frames without a face",
        "no face mask in {place}/case/faces marks a face: expected faces in white on black, part of the frame; "
        "mark them, or run without --refine.",
        all_of(*(blacken(f"case/faces/frame_{i}.png") for i in range(5))),
    ),
]


@each(FLAG_ROWS)
def test_a_flag_out_of_its_range(row, tmp_path, capsys):
    check("sa-run", row, run_arguments(tmp_path), tmp_path, 2, capsys)


@pytest.fixture
def place(tmp_path, engines, case_folder):
    """A folder with an engine set that can refine (a link, as nothing is written there) and a case."""
    (tmp_path / "engines").symlink_to(engines(CASE, "onnxruntime", "--refine", "--refine-plan", "whole"))
    return copied(tmp_path, case=case_folder(CASE))


@each(CASE_ROWS)
def test_a_case_that_cannot_be_refined(row, place, capsys):
    check("sa-run", row, [*run_arguments(place), "--refine"], place, 2, capsys)


def test_a_frame_on_which_the_published_code_fails(place, capsys):
    blacken("case/faces/frame_1.png")(place)
    message = (
        f"{place}/case/faces/frame_1.png has no pixel of exactly 255, on which the published code fails: "
        "run without --compat upstream."
    )
    fails("sa-run", [*run_arguments(place), "--refine", "--compat", "upstream"], place, 2, message, capsys)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (
            ("--refine-gradient", "window"),
            3,
            "{place}/engines was made without a window, which --refine-gradient window takes: rebuild it with "
            "`sa-export --refine-window PIXELS --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
            "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4 --refine`, or leave the flag out.",
        ),
        (
            ("--refine-gradient", "window", "--refine-region", "frame"),
            2,
            "--refine-gradient window is of the faces' surroundings, and --refine-region frame moves the whole frame: "
            "leave out one of them.",
        ),
        (
            ("--refine-region", "face", "--compat", "upstream"),
            2,
            "--refine-region face is not what --compat upstream reproduces: leave out one of them.",
        ),
        (
            ("--refine-gradient", "window", "--compat", "upstream"),
            2,
            "--refine-gradient window is not what --compat upstream reproduces: leave out one of them.",
        ),
    ],
)
def test_choices_that_cannot_be_had(flags, code, message, place, capsys):
    arguments = [*run_arguments(place), "--refine", *flags]
    fails("sa-run", arguments, place, code, message.format(place=place), capsys)


def test_engines_made_without_refinement(engines, case_folder, tmp_path, capsys):
    (tmp_path / "engines").symlink_to(engines(CASE, "onnxruntime"))
    (tmp_path / "case").symlink_to(case_folder(CASE))
    message = (
        f"{tmp_path}/engines was made without refinement engines; "
        "rebuild it with `sa-export --refine --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
        "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`."
    )
    fails("sa-run", [*run_arguments(tmp_path), "--refine"], tmp_path, 3, message, capsys)


def test_a_manifest_that_lacks_an_engine_of_its_plan(engines, case_folder, tmp_path, capsys):
    copied(tmp_path, engines=engines(CASE, "onnxruntime", "--refine", "--refine-plan", "whole"))
    (tmp_path / "case").symlink_to(case_folder(CASE))
    without_engine("loss_gradient")(tmp_path)
    message = (
        f"{tmp_path}/engines/manifest.json is not a sound manifest: "
        "the refinement's engine loss_gradient is not listed; rebuild the engine set with sa-export."
    )
    fails("sa-run", [*run_arguments(tmp_path), "--refine"], tmp_path, 3, message, capsys)
