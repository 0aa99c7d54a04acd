"""Refinement by a window: its engines against Paddle in float64, and runs that use it."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from PIL import Image

from sa.export.certify import Networks
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.refinement_roles import refine_definitions
from sa.export.engines.roles import DEFINITIONS, slots_by_part
from sa.export.networks.window import SegmentNorms, WindowSegment
from sa.runtime.backends.composed.window_gradient import Window
from sa.runtime.cli import main
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.pipeline import run as running
from sa.runtime.refinement.crops import Box, crop_matrices

SIDE, WINDOW = 128, Window(16, 32, 96)
FRAMES = 3
FLAGS = ("--steps", "2", "--threads", "1", "--quiet", "--guidance", "1", "--refine")
FLAGS += ("--refine-preset", "published", "--refine-iters", "2")


@pytest.fixture(params=["onnxruntime", "paddle"])  # OpenVINO runs ONNX Runtime's programs
def folder(request, engines):
    size = ("--height", str(SIDE), "--width", str(SIDE))
    return engines("recipe_hjb", request.param, "--refine", *size, "--refine-window", str(WINDOW.size))


@pytest.fixture(scope="module")
def place(engines, case_folder, tmp_path_factory):
    """A set with a window, and a case whose last chunk has a face that is too large for it. Each run is made once."""
    tmp_path = tmp_path_factory.mktemp("window")
    size = ("--height", str(SIDE), "--width", str(SIDE))
    folder = engines("recipe_hjb", "onnxruntime", "--refine", *size, "--refine-window", str(WINDOW.size))
    (tmp_path / "engines").symlink_to(folder)
    case = tmp_path / "case"
    case.mkdir()
    for path in case_folder("recipe_hjb").iterdir():
        if path.name != "faces":
            (case / path.name).symlink_to(path)
    (case / "faces").mkdir()
    for i in range(5):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        box = (20 + 4 * i, 60 + 4 * i, 50, 90) if i < 4 else (5, 120, 5, 120)
        mask[box[0] : box[1], box[2] : box[3]] = 255
        Image.fromarray(mask).save(case / "faces" / f"frame_{i}.png")
    return tmp_path


def arguments(place, out, *further):
    return [
        "--engines",
        f"{place}/engines",
        "--case",
        f"{place}/case",
        "--out",
        f"{place}/{out}",
        *FLAGS,
        *further,
    ]


def written(place, out):
    frames = {path.name: path.read_bytes() for path in (place / out / "frames").iterdir()}
    return frames, json.loads((place / out / "run.json").read_text())


@pytest.fixture(scope="module")
def plain(place):
    """The frames and the run.json of a run without further flags."""
    assert main(arguments(place, "plain")) == 0
    return written(place, "plain")


@pytest.fixture(scope="module")
def network(checkpoint):
    """Decoder and face loss in Paddle, float64."""
    opened = Checkpoint(checkpoint("recipe_hjb"))
    definition = next(d for d in refine_definitions("whole", opened).engines if d.role == "loss_gradient")
    weights = {
        part: opened.weights(part, slots) for part, slots in slots_by_part(opened, [*DEFINITIONS, definition]).items()
    }
    return Networks(opened, weights).loaded(definition).to(dtype="float64")


def by_frame(call, segment, x, *norms):
    """A segment's result, frame by frame if it is so."""
    if not segment.by_frame:
        return call(x, *norms)
    return paddle.concat([call(x[f : f + 1], *(table[f : f + 1] for table in norms)) for f in range(FRAMES)])


def test_the_engines_make_the_gradient_of_the_network_with_its_norms_held(folder, network):
    """From the same latents; float64 with the norms of the float64 network."""
    generator = np.random.default_rng(0)
    latents = generator.standard_normal((FRAMES, 4, SIDE // 8, SIDE // 8)).astype(np.float32)
    rows, columns = crop_matrices(Box(10, 60, 20, 70), WINDOW.size, WINDOW.size)
    face = {
        "rows": np.stack([rows] * FRAMES),
        "columns": np.stack([columns] * FRAMES),
        "reference": generator.standard_normal((1, 512)).astype(np.float32),
        "weights": np.array([0.5, 0.2, 0.3], np.float32),
    }
    engines = EngineSet.open(folder, refine=True, threads=1)
    with engines.open_window_gradient() as opened:
        norms = opened.norms(latents)
        loss, gradient = opened.gradient(latents, WINDOW, norms, face)
    plan, decoder = engines.manifest.refine.window, network.vae
    z = paddle.to_tensor(latents.astype(np.float64), stop_gradient=False)
    x = z
    for segment in decoder.segments()[: plan.whole]:
        x = segment.run(x)
    norms64 = {}
    with paddle.no_grad():
        y = x
        for i, segment in enumerate(decoder.segments()[plan.whole :]):
            if segment.norms:
                norms64[i] = by_frame(lambda part, i=i: SegmentNorms(decoder, plan.whole + i)(part)[1], segment, y)
                wanted = norms64[i].numpy()
                np.testing.assert_allclose(norms[i], wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
            y = segment.run(y)
    down, across = WINDOW.latents
    x = x[:, :, down, across]
    for i, segment in enumerate(decoder.segments()[plan.whole :]):
        x = by_frame(WindowSegment(decoder, plan.whole + i), segment, x, *([norms64[i]] if i in norms64 else []))
    truth = network.face_loss(x, *(paddle.to_tensor(value.astype(np.float64)) for value in face.values()))
    expected = paddle.grad([truth], [z])[0].numpy()
    assert loss == pytest.approx(truth.item(), rel=1e-4)
    assert np.vdot(gradient, expected) / np.linalg.norm(gradient) / np.linalg.norm(expected) > 0.9999
    assert np.linalg.norm(gradient) == pytest.approx(np.linalg.norm(expected), rel=1e-3)


def test_chunks_with_a_window_beside_one_of_the_frame_and_run_json_says_so(place, plain):
    assert main(arguments(place, "frame", "--refine-gradient", "frame")) == 0
    assert main(arguments(place, "published", "--refine-region", "frame")) == 0
    (_, window), (frames, frame), (published_frames, published) = (
        plain,
        *(written(place, out) for out in ("frame", "published")),
    )
    chosen = [one["arguments"]["refine_settings"] for one in (window, frame, published)]
    assert [(one["region"], one["gradient"]) for one in chosen] == [
        ("face", "window"),
        ("face", "frame"),
        ("frame", "frame"),
    ]
    names = ("window", "window_chunks", "frame_chunks")
    assert [window["refinement"][name] for name in names] == [WINDOW.size, 1, 1]
    assert [frame["refinement"][name] for name in names] == [None, 0, 2] and frames != published_frames
    said = [warning for warning in window["warnings"] if "1 of 2 chunks of frames do not fit into a window" in warning]
    assert len(said) == 1 and not any("do not fit into a window" in warning for warning in frame["warnings"])
    losses = [step["losses"][0] for one in (window, frame) for step in one["refine"]]
    assert losses[0] == pytest.approx(losses[2], rel=0.05)  # the borders reach into so small a window
    assert window["memory"]["stages"][1]["predicted_bytes"] > frame["memory"]["stages"][1]["predicted_bytes"]


def test_without_a_large_face_the_frames_engines_stay_closed(place, tmp_path, monkeypatch):
    (tmp_path / "engines").symlink_to(place / "engines")
    shutil.copytree(place / "case", tmp_path / "case")
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(tmp_path / "case" / "faces" / "frame_4.png")
    monkeypatch.setattr(EngineSet, "open_loss_gradient", lambda *_: pytest.fail("the frame's gradient was opened"))
    assert main(arguments(tmp_path, "out")) == 0
    _, run = written(tmp_path, "out")
    assert [run["refinement"][name] for name in ("window_chunks", "frame_chunks")] == [1, 0]


def test_low_memory_makes_the_same_frames(place, plain):
    assert main(arguments(place, "low", "--low-memory")) == 0
    (frames, run), (low, other) = plain, written(place, "low")
    assert frames == low and run["refine"] == other["refine"]
    assert other["refinement"]["predicted_bytes"] < run["refinement"]["predicted_bytes"]


def test_an_interrupted_run_goes_on_to_the_same_frames_unless_the_gradient_changes(place, plain, monkeypatch):
    save_state = running.save_state

    def stop_after(folder, state):
        save_state(folder, state)
        raise KeyboardInterrupt

    for flags, resumed in (((), 1), (("--refine-gradient", "frame"), 0)):
        with monkeypatch.context() as patched:
            patched.setattr(running, "save_state", stop_after)
            assert main(arguments(place, "interrupted", "--fresh")) != 0
        assert main(arguments(place, "interrupted", *flags)) == 0
        frames, run = written(place, "interrupted")
        assert run["resumed_after_step"] == resumed
        assert (frames == plain[0]) == (not flags)


def test_upstream_takes_the_whole_frame(place):
    assert main(arguments(place, "upstream", "--compat", "upstream")) == 0
    _, run = written(place, "upstream")
    settings = SimpleNamespace(**run["arguments"]["refine_settings"])
    assert (settings.region, settings.gradient) == ("frame", "frame") and run["refinement"]["window"] is None
