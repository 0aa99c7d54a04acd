"""A run that was killed goes on where it was, and ends with the same frames; only that run does."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sa.runtime import Case, Pipeline, RefineSettings
from sa.runtime.cli import main
from sa.runtime.events import Message, PoseEncoded, TileDone
from sa.runtime.pipeline.resume import STATE, State, load_state, save_state
from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.hjb import RefinedStep

FLAGS = ("--steps", "4", "--threads", "1", "--quiet")
REFINE = ("--refine", "--refine-end", "2", "--refine-iters", "2")


@pytest.fixture
def folder(engines, case_folder, tmp_path) -> Path:
    plan = ("--refine", "--refine-plan", "whole")  # which loads soonest
    (tmp_path / "engines").symlink_to(engines("recipe_hjb", "onnxruntime", *plan))
    (tmp_path / "case").symlink_to(case_folder("recipe_hjb"))
    return tmp_path


def arguments(folder: Path, out: str, *further: str) -> list[str]:
    return ["--engines", f"{folder}/engines", "--case", f"{folder}/case", "--out", f"{folder}/{out}", *FLAGS, *further]


def written(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "frames").iterdir()}


def test_a_killed_run_goes_on_to_the_same_bytes(folder):
    assert main(arguments(folder, "whole", *REFINE)) == 0
    command = [sys.executable, "-m", "sa.runtime.cli"]
    chance = random.Random(7)
    resumed = set()
    for attempt in range(3):
        out = f"out-{attempt}"
        process = subprocess.Popen([*command, *arguments(folder, out, *REFINE)])
        state = folder / f".{out}.partial" / STATE
        deadline = time.monotonic() + 60
        while not state.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.8))
        process.kill()
        process.wait()
        assert main(arguments(folder, out, *REFINE)) == 0
        assert written(folder / out) == written(folder / "whole")
        one, other = (json.loads((folder / name / "run.json").read_text()) for name in (out, "whole"))
        assert one["refine"] == other["refine"]
        resumed.add(one["resumed_after_step"])
        assert not list(folder.glob(".*.partial"))
    assert max(resumed) > 0


def killed_after(folder: Path, out: str, step: int) -> None:
    """Leave what sa-run leaves when it is killed after this step."""
    script = (
        "import os, sys, signal; from sa.runtime.pipeline import run; from sa.runtime.cli import main\n"
        "plain = run.save_state\n"
        "def save(folder, state):\n"
        "    plain(folder, state)\n"
        f"    if state.steps_done == {step}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run.save_state = save; main(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments(folder, out)])
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (("--seed", "5"), "the identity and noise, seed"),
        (("--steps", "5"), "steps"),
        (("--guidance", "2"), "guidance"),
        (("--refine",), "refine"),
        (("--identity", "none"), "the identity and noise"),
    ],
)
def test_another_run_begins_anew_and_says_why(folder, capsys, change, differs):
    killed_after(folder, "out", 2)
    flags = [word for word in arguments(folder, "out", *change) if word != "--quiet"]
    assert main(flags) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "beginning anew: what an earlier command left was made with another " in said
        and differs.split(", ")[-1] in said
    )
    assert json.loads((folder / "out" / "run.json").read_text())["resumed_after_step"] == 0


def test_another_case_or_engine_set_begins_anew(folder, engines, case_folder, capsys):
    import shutil

    killed_after(folder, "out", 2)
    (folder / "case").unlink()
    shutil.copytree(case_folder("recipe_hjb"), folder / "case")
    pose = folder / "case" / "poses" / "frame_1.png"
    pose.write_bytes((folder / "case" / "poses" / "frame_2.png").read_bytes())
    assert main([word for word in arguments(folder, "out") if word != "--quiet"]) == 0
    assert "made with another the case" in " ".join(capsys.readouterr().err.split())
    killed_after(folder, "other", 2)
    (folder / "engines").unlink()
    (folder / "engines").symlink_to(engines("recipe_hjb", "onnxruntime"))
    assert main([word for word in arguments(folder, "other") if word != "--quiet"]) == 0
    assert "made with another the engine set" in " ".join(capsys.readouterr().err.split())


def test_a_run_may_be_begun_anew(folder, capsys):
    killed_after(folder, "out", 2)
    assert main(arguments(folder, "out", "--fresh")) == 0
    assert json.loads((folder / "out" / "run.json").read_text())["resumed_after_step"] == 0


def test_what_goes_on_says_so_and_does_only_the_rest(engines, case_folder, tmp_path):
    case = Case.read(case_folder("recipe_hjb"))
    with Pipeline.open(engines("recipe_hjb", "onnxruntime"), threads=1) as pipeline:
        told = []

        def stop(event):
            told.append(event)
            if isinstance(event, TileDone) and event.step == 3:
                token.cancel()

        from sa.runtime import CancelToken
        from sa.runtime.errors import CancelledError

        token = CancelToken()
        with pytest.raises(CancelledError):
            pipeline.prepare(case, steps=5, on_event=stop, cancel=token).start(tmp_path)
        told.clear()
        result = pipeline.prepare(case, steps=5, on_event=told.append).start(tmp_path)
        assert [event.step for event in told if isinstance(event, TileDone)] == [4, 5]
        assert any(isinstance(event, Message) and "going on after step 3 of 5" in event.text for event in told)
        np.testing.assert_array_equal(result.latents, pipeline(case, steps=5).latents)
        told.clear()
        done = pipeline.prepare(case, steps=5, on_event=told.append).start(tmp_path)
        assert not any(isinstance(event, TileDone | PoseEncoded) for event in told)
        np.testing.assert_array_equal(done.latents, result.latents)


def test_frames_that_were_written_are_not_decoded_again(folder, monkeypatch):
    from sa.runtime.output import video

    assert main(arguments(folder, "whole")) == 0
    plain, count = video.write_frame, []

    def write(place, index, frame):
        if index == 2 and not count:
            count.append(index)
            raise KeyboardInterrupt
        plain(place, index, frame)

    monkeypatch.setattr(video, "write_frame", write)
    assert main(arguments(folder, "out")) == 130
    again = []
    monkeypatch.setattr(
        video, "write_frame", lambda place, index, frame: (again.append(index), plain(place, index, frame))
    )
    assert main(arguments(folder, "out")) == 0
    assert again == [2, 3, 4] and written(folder / "out") == written(folder / "whole")


def test_a_state_is_read_whole_or_not_at_all(tmp_path):
    latents = np.random.default_rng(0).standard_normal((1, 3, 4, 2, 2)).astype(np.float32)
    state = State(2, latents, [RefinedStep(0, [0.5, 0.25], [1.0, 2.0])], 1)
    save_state(tmp_path, state)
    found = load_state(tmp_path, latents.shape)
    assert found is not None and (found.steps_done, found.refined, found.iterations_saved) == (2, state.refined, 1)
    np.testing.assert_array_equal(found.latents, latents)
    assert load_state(tmp_path, (1, 4, 4, 2, 2)) is None
    whole = (tmp_path / STATE).read_bytes()
    for spoiled in (b"", whole[:40], whole[: len(whole) // 2], bytes(len(whole))):
        (tmp_path / STATE).write_bytes(spoiled)
        assert load_state(tmp_path, latents.shape) is None
    os.remove(tmp_path / STATE)
    assert load_state(tmp_path, latents.shape) is None


def test_refinement_settings_are_part_of_the_key(engines, case_folder):
    case = Case.read(case_folder("recipe_hjb"))
    with Pipeline.open(engines("recipe_hjb", "onnxruntime", "--refine")) as pipeline:
        one, same, other = (
            pipeline.prepare(case, refine=RefineSettings(0, end, 2), fps=fps).key
            for end, fps in ((3, 8.0), (3, 9.0), (4, 8.0))
        )
    assert one == same != other


@pytest.mark.parametrize(
    "change",
    [{"schedule": "ays"}, {"guidance_interval": (0.1, 20.0)}, {"refine": RefineSettings(0, 3, 2, region="frame")}],
)
def test_what_changes_the_frames_is_part_of_the_key_and_a_name_is_not(change, engines, case_folder):
    case, usual = Case.read(case_folder("recipe_hjb")), {"refine": RefineSettings(0, 3, 2)}
    with Pipeline.open(engines("recipe_hjb", "onnxruntime", "--refine")) as pipeline:
        key = pipeline.prepare(case, **usual).key
        assert pipeline.prepare(case, Settings(quality="another name", **usual)).key == key
        assert pipeline.prepare(case, **{**usual, **change}).key != key
