"""Tiles of a step in several processes: the frames of one process to the byte, and what happens when one ends."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from sa.runtime.case.case import Case
from sa.runtime.cli import main
from sa.runtime.engine_set.memory_plan import Choices
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import CancelledError, EngineSetError, LostWorkerError
from sa.runtime.events import TileDone
from sa.runtime.pipeline.cancel import CancelToken
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.split import split_unet
from sa.runtime.split.engines import SplitEngines
from sa.runtime.split.process import TileWorkerProcess
from sa.runtime.split.tile_worker import TileWorkerConfig

CASE = "recipe_basic"  # 7 frames in 3 tiles
CACHED = ("--cache-depth", "2")


def run(engines: Path, case: Path, out: Path, *further: str) -> dict[str, bytes]:
    """sa-run, and every frame and video that it writes."""
    flags = ("--steps", "4", "--tile-overlap", "2", "--threads", "2", "--quiet")
    assert main(["--engines", str(engines), "--case", str(case), "--out", str(out), *flags, *further]) == 0
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "run.json"}


@pytest.mark.parametrize("further", [(), ("--cache-interval", "2"), ("--guidance-interval", "0.1", "20")])
def test_the_frames_are_those_of_one_process(engines, case_folder, tmp_path, further):
    set_, case = engines(CASE, "onnxruntime", *CACHED), case_folder(CASE)
    one = run(set_, case, tmp_path / "one", *further)
    for workers in ("2", "3"):
        assert run(set_, case, tmp_path / workers, *further, "--tile-workers", workers) == one


@pytest.mark.parametrize("plan", ["segmented", "whole"])
def test_refined_and_in_low_memory_too(engines, case_folder, tmp_path, plan):
    """Its 5 frames are 2 chunks of the loss gradient."""
    set_ = engines("recipe_hjb", "onnxruntime", "--refine", "--refine-plan", plan)
    case = case_folder("recipe_hjb")
    further = ("--refine", "--refine-end", "1", "--refine-iters", "1")
    one = run(set_, case, tmp_path / "one", *further)
    for name, flags in (("two", ()), ("low", ("--low-memory",))):
        assert run(set_, case, tmp_path / name, *further, *flags, "--tile-workers", "2") == one
        both = (json.loads((tmp_path / out / "run.json").read_text()) for out in ("one", name))
        assert next(both)["refine"] == next(both)["refine"]


def test_pose_latents_that_are_not_kept_are_sent_again(engines, case_folder, monkeypatch):
    case = Case.read(case_folder(CASE))
    sizes = []
    plain = split_unet.TileWorkerProcess.ask
    monkeypatch.setattr(
        split_unet.TileWorkerProcess,
        "ask",
        lambda self, do, arrays=None, **fields: (
            sizes.append((do, "pose_latents" in (arrays or {}))),
            plain(self, do, arrays, **fields),
        )[1],
    )
    found = []
    with SplitEngines(EngineSet.open(engines(CASE, "onnxruntime"), threads=2), 2) as split, Pipeline(split) as pipeline:
        for kept in (split_unet.KEPT_BYTES, 0):
            monkeypatch.setattr(split_unet, "KEPT_BYTES", kept)
            sizes.clear()
            found.append(pipeline(case, steps=3, tile_overlap=2).latents.tobytes())
            assert sizes.count(("tile", True)) == (3 if kept else 9)
    assert found[0] == found[1]


def test_workers_stay_from_one_run_to_the_next_and_are_replaced_when_a_run_left_them_at_work(engines, case_folder):
    case, token = Case.read(case_folder(CASE)), CancelToken()
    with SplitEngines(EngineSet.open(engines(CASE, "onnxruntime"), threads=2), 2) as split, Pipeline(split) as pipeline:
        first = pipeline(case, steps=2, tile_overlap=2).latents.tobytes()
        before = list(split._started)
        assert pipeline(case, steps=2, tile_overlap=2).latents.tobytes() == first and split._started == before

        def stop(event):
            if isinstance(event, TileDone):
                token.cancel()

        with pytest.raises(CancelledError):
            pipeline(case, steps=2, tile_overlap=2, on_event=stop, cancel=token)
        assert pipeline(case, steps=2, tile_overlap=2).latents.tobytes() == first
    assert not any(worker.alive for worker in [*before, *split._started])


def test_a_run_whose_worker_is_killed_says_so_and_goes_on_after_its_last_step(engines, case_folder, tmp_path, capfd):
    set_, case, out = engines(CASE, "onnxruntime"), case_folder(CASE), tmp_path / "out"
    one = run(set_, case, tmp_path / "one", "--steps", "12")
    flags = ["--engines", str(set_), "--case", str(case), "--out", str(out), "--tile-workers", "2", "--quiet"]
    flags += ["--steps", "12", "--tile-overlap", "2", "--threads", "2"]
    process = subprocess.Popen([sys.executable, "-m", "sa.runtime.cli", *flags])
    state, deadline = tmp_path / ".out.partial" / "state.npz", time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    workers[1].kill()
    assert process.wait() == 1
    said = capfd.readouterr().err
    assert said == "sa-run: a tile worker ended (signal SIGKILL): the same command goes on after the last step.\n"
    psutil.wait_procs(workers, 30)
    assert not any(worker.is_running() for worker in workers)
    assert run(set_, case, out, "--steps", "12", "--tile-workers", "2") == one
    assert json.loads((out / "run.json").read_text())["resumed_after_step"] > 0


def test_workers_that_do_not_fit_are_refused_with_the_number_that_does(engines, monkeypatch):
    from sa.runtime.engine_set import memory_plan

    set_ = EngineSet.open(engines(CASE, "onnxruntime"))
    heaviest = max(stage.least for stage in set_.plan_memory(Choices(7)).stages)
    with SplitEngines(set_, 5) as split:
        assert split.plan_memory(Choices(7)).stages == set_.plan_memory(Choices(7)).stages
        monkeypatch.setattr(memory_plan, "available_memory", lambda: int(3.5 * heaviest))
        with pytest.raises(
            EngineSetError, match=r"5 tile workers .* give --tile-workers ([234]) \(--workers \1 of sa-batch\)\.$"
        ):
            split.plan_memory(Choices(7))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--tile-workers", "0"), "--tile-workers must be 1 to 64, not 0."),
        (("--devices", "0,x"), "--devices must be numbers of GPUs, each once, such as 0,1, not '0,x'."),
        (("--devices", "1,1"), "--devices must be numbers of GPUs, each once"),
        (("--devices", "0,1", "--device", "cpu"), "--device must be cuda, or left out, with --devices, not cpu."),
    ],
)
def test_flags_that_cannot_be_used(tmp_path, capsys, flags, says):
    assert main(["--engines", "e", "--case", "c", "--out", str(tmp_path / "o"), *flags]) == 2
    assert says in capsys.readouterr().err


def test_what_a_dead_worker_did_not_take_does_not_hinder_its_end(engines):
    """Two requests are out when it is killed: the second one's bytes have nobody to take them."""
    set_ = EngineSet.open(engines(CASE, "onnxruntime"))
    config = TileWorkerConfig(str(set_.folder), set_.digest, "cpu", 1, low_memory=False)
    worker = TileWorkerProcess(config, None)
    worker.ask("nothing").exception()
    worker._process.kill()
    asked = [worker.ask("nothing", {"x": np.zeros(1 << 20, np.float32)}) for _ in range(2)]
    assert all(isinstance(one.exception(), LostWorkerError) for one in asked)
    worker.close()
    assert not worker.alive
