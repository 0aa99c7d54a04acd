"""Whatever is wrong with what the face refinement is given: one exact sentence, and nothing left behind or changed."""

import json
import shutil

import numpy as np
import pytest
from command_lines import CASE, EXPORT, copied, export_arguments, fails, run_arguments
from PIL import Image

FLAG_ROWS = {
    "a flag without --refine": (["--refine-iters", "2"], "--refine-iters says how to refine: give it with --refine."),
    "a negative start": (["--refine", "--refine-start", "-1"], "--refine-start must be 0 to 999, not -1."),
    "a start behind the last step": (
        ["--refine", "--refine-start", "1"],
        "--refine-start must be less than --steps 1, not 1.",
    ),
    "an end before the start": (
        ["--refine", "--refine-end", "-1"],
        "--refine-end must be 0 (the first step refined) or more, not -1.",
    ),
    "no iterations": (["--refine", "--refine-iters", "0"], "--refine-iters must be 1 to 1000, not 0."),
    "a tolerance of 1": (
        ["--refine", "--refine-tolerance", "1"],
        "--refine-tolerance must be 0 or more and less than 1, not 1.0.",
    ),
    "a tolerance that is none": (
        ["--refine", "--refine-tolerance", "nan"],
        "--refine-tolerance must be 0 or more and less than 1, not nan.",
    ),
}


@pytest.mark.parametrize("name", FLAG_ROWS)
def test_a_flag_out_of_its_range(name, tmp_path, capsys):
    flags, message = FLAG_ROWS[name]
    fails("sa-run", [*run_arguments(tmp_path), *flags], tmp_path, 2, message, capsys)


def test_engines_made_without_refinement(engines, case_folder, tmp_path, capsys):
    (tmp_path / "engines").symlink_to(engines(CASE, "onnxruntime"))
    (tmp_path / "case").symlink_to(case_folder(CASE))
    rebuild = EXPORT.replace("sa-export", "sa-export --refine", 1)
    message = f"{tmp_path}/engines was made without refinement engines; rebuild it with `{rebuild}`."
    fails("sa-run", [*run_arguments(tmp_path), "--refine"], tmp_path, 3, message, capsys)


def test_a_manifest_that_lacks_an_engine_of_its_plan(engines, case_folder, tmp_path, capsys):
    copied(tmp_path, engines=engines(CASE, "onnxruntime", "--refine", "--refine-plan", "whole"))
    (tmp_path / "case").symlink_to(case_folder(CASE))
    manifest = tmp_path / "engines" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["engines"] = [engine for engine in content["engines"] if engine["role"] != "loss_gradient"]
    manifest.write_text(json.dumps(content))
    message = (
        f"{manifest} is not a sound manifest: the refinement's engine loss_gradient is not listed; "
        "rebuild the engine set with sa-export."
    )
    fails("sa-run", [*run_arguments(tmp_path), "--refine"], tmp_path, 3, message, capsys)


def black(path):
    Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)


CASE_ROWS = {
    "no masks of the frames": (
        lambda case: shutil.rmtree(case / "faces"),
        "{case}/faces is missing: --refine needs the face marked in the reference and in every frame; add the masks, "
        "or run without --refine.",
    ),
    "no mask of the reference": (
        lambda case: (case / "reference_mask.png").unlink(),
        "{case}/reference_mask.png is missing: --refine needs the face marked in the reference and in every frame; "
        "add the masks, or run without --refine.",
    ),
    "a mask too few": (
        lambda case: (case / "faces" / "frame_2.png").unlink(),
        "{case}/faces has 4 face masks for 5 poses: give one mask per pose, or remove the folder.",
    ),
    "a reference without a face": (
        lambda case: black(case / "reference_mask.png"),
        "{case}/reference_mask.png marks no face: expected the reference's face in white on black (128 or brighter); "
        "mark it, or run without --refine.",
    ),
    "frames without a face": (
        lambda case: [black(path) for path in (case / "faces").iterdir()],
        "no face mask in {case}/faces marks a face: expected faces in white on black, part of the frame; mark them, "
        "or run without --refine.",
    ),
}


@pytest.mark.parametrize("name", CASE_ROWS)
def test_a_case_that_cannot_be_refined(name, engines, case_folder, tmp_path, capsys):
    spoil, message = CASE_ROWS[name]
    (tmp_path / "engines").symlink_to(engines(CASE, "onnxruntime", "--refine", "--refine-plan", "whole"))
    copied(tmp_path, case=case_folder(CASE))
    spoil(tmp_path / "case")
    message = message.format(case=tmp_path / "case")
    fails("sa-run", [*run_arguments(tmp_path), "--refine"], tmp_path, 2, message, capsys)


def test_a_frame_on_which_the_published_code_fails(engines, case_folder, tmp_path, capsys):
    (tmp_path / "engines").symlink_to(engines(CASE, "onnxruntime", "--refine", "--refine-plan", "whole"))
    copied(tmp_path, case=case_folder(CASE))
    black(tmp_path / "case" / "faces" / "frame_1.png")
    message = (
        f"{tmp_path}/case/faces/frame_1.png has no pixel of exactly 255, on which the published code fails: "
        "run without --compat upstream."
    )
    flags = ["--refine", "--compat", "upstream"]
    fails("sa-run", [*run_arguments(tmp_path), *flags], tmp_path, 2, message, capsys)


def test_a_plan_without_refinement(tmp_path, capsys):
    flags = ["--refine-plan", "whole"]
    message = "--refine-plan is how --refine is done: give it with --refine."
    fails("sa-export", [*export_arguments(tmp_path), *flags], tmp_path, 2, message, capsys)


def test_a_checkpoint_without_arcface(checkpoint, tmp_path, capsys):
    copied(tmp_path, checkpoint=checkpoint(CASE))
    for path in (tmp_path / "checkpoint" / "Animation").glob("glintr100_torch*"):
        path.unlink()
    message = (
        f"{tmp_path}/checkpoint/Animation/glintr100_torch.safetensors is missing: the checkpoint needs the arcface "
        "weights there (or as glintr100_torch.pth, glintr100_torch.pdparams, glintr100_torch/model_state.pdparams)."
    )
    fails("sa-export", [*export_arguments(tmp_path), "--refine"], tmp_path, 2, message, capsys)
