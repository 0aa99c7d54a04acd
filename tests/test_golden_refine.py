"""The HJB refinement against the published code's float64 run: both backends, both plans (docs/model.md, section 8)."""

import json

import numpy as np
import paddle
import pytest
from golden_checks import face_targets
from PIL import Image
from shared import relative

from sa.export.certify import Networks
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.refinement_roles import refine_definitions
from sa.export.engines.roles import DEFINITIONS, slots_by_part
from sa.runtime.cli import main
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.refinement.hjb import VideoLoss

CHUNK = 4  # frames decoded at once, as published


@pytest.fixture
def data(golden):
    return golden("recipe_hjb")


@pytest.fixture
def targets(data):
    return face_targets(data)


@pytest.fixture(scope="module")
def engine(refining):
    with EngineSet.open(refining, refine=True).open_loss_gradient() as opened:
        yield opened


@pytest.fixture
def video_loss(data, engine, targets):
    reference = data.expected["hjb_reference_embedding"]
    return VideoLoss(engine, targets, reference, data.parameters.height, data.parameters.width, CHUNK)


def test_boxes_and_the_references_crop(data, targets):
    boxes = [(box.top, box.bottom, box.left, box.right) for box in targets.boxes]
    assert boxes == [tuple(box) for box in data.expected["hjb_boxes"]]
    assert relative(targets.reference, data.expected["hjb_reference_crop"]) < 1e-4


def test_embedding_of_the_references_face(data, refining, targets):
    with EngineSet.open(refining).open_single("arcface") as arcface:
        embedding = arcface.infer({"face": targets.reference})["embedding"]
    assert relative(embedding, data.expected["hjb_reference_embedding"]) < 1e-4


def test_crop_and_embedding_of_the_first_iteration(data, refining, targets):
    engines = EngineSet.open(refining)
    latents = data.expected["hjb_z_in"][0][0]
    with engines.open_single("vae_decoder") as decoder, engines.open_single("arcface") as arcface:
        chunks = [latents[:4], latents[4:]]
        frames = np.concatenate([decoder.infer({"latents": chunk})["frames"] for chunk in chunks])
        loss = VideoLoss(None, targets, None, data.parameters.height, data.parameters.width, CHUNK)
        rows, columns = loss.crops(slice(None))
        faces = rows[:, None] @ np.clip(frames, -1, 1) @ columns.transpose(0, 2, 1)[:, None]
        embeddings = np.concatenate([arcface.infer({"face": face[None]})["embedding"] for face in faces])
    assert relative(faces, data.expected["hjb_crop_it0"]) < 1e-4
    assert relative(embeddings, data.expected["hjb_embedding_it0"]) < 1e-4


def test_loss_and_gradient_of_every_iteration(data, video_loss):
    """Teacher-forced: each iteration from the stored latents, frames 0-3 as one chunk and frame 4 as the rest."""
    expected = data.expected
    for k, latents in enumerate(expected["hjb_z_in"]):
        loss, gradient = video_loss(latents)
        assert loss == pytest.approx(float(expected["hjb_loss"][k]), rel=1e-5)
        compare(gradient, expected["hjb_grad"][k])


def compare(gradient, truth, cosine=0.9999):
    gradient, truth = gradient.astype(np.float64), truth.astype(np.float64)
    norms = np.linalg.norm(gradient), np.linalg.norm(truth)
    assert np.vdot(gradient, truth) / (norms[0] * norms[1]) > cosine
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


@pytest.fixture(scope="module")
def float64_loss(checkpoint):
    """The whole objective in Paddle, float64."""
    opened = Checkpoint(checkpoint("recipe_hjb"))
    definition = next(d for d in refine_definitions("whole", opened).engines if d.role == "loss_gradient")
    expected = slots_by_part(opened, [*DEFINITIONS, definition])
    weights = {part: opened.weights(part, slots) for part, slots in expected.items()}
    return Networks(opened, weights).loaded(definition).to(dtype="float64")


TRUTHS = {}  # every engine set is held against the same ones


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_chunks_of_any_length(frames, data, engine, targets, float64_loss):
    """Against Paddle's autograd in float64 through the whole objective."""
    loss = VideoLoss(engine, targets, None, data.parameters.height, data.parameters.width, CHUNK)
    rows, columns = loss.crops(slice(frames))
    values = {
        "latents": data.expected["hjb_z_in"][1][0, :frames],
        "rows": rows,
        "columns": columns,
        "reference": data.expected["hjb_reference_embedding"],
        "weights": np.array([0.5, 0.2, 0.3], np.float32)[:frames],
    }
    if frames not in TRUTHS:
        tensors = {name: paddle.to_tensor(value.astype(np.float64)) for name, value in values.items()}
        tensors["latents"].stop_gradient = False
        truth = float64_loss(*tensors.values())
        TRUTHS[frames] = truth.item(), paddle.grad([truth], [tensors["latents"]])[0].numpy()
    truth, gradient = TRUTHS[frames]
    result = engine.infer(values)
    assert result["loss"][0] == pytest.approx(truth, rel=1e-5)
    compare(result["gradient"], gradient)


def test_the_gradient_is_the_slope_of_the_loss(data, video_loss, float64_loss):
    """Not only another program's gradient: central differences of the float64 loss along a random direction."""
    latents = data.expected["hjb_z_in"][2][0, :2].astype(np.float64)
    direction = np.random.default_rng(0).standard_normal(latents.shape)
    rows, columns = video_loss.crops(slice(2))
    given = {
        "rows": rows,
        "columns": columns,
        "reference": data.expected["hjb_reference_embedding"],
        "weights": video_loss.weights[:2],
    }

    def loss(step):
        tensors = (paddle.to_tensor(np.asarray(value, np.float64)) for value in given.values())
        with paddle.no_grad():
            return float64_loss(paddle.to_tensor(latents + step * direction), *tensors).item()

    if "slope" not in TRUTHS:
        TRUTHS["slope"] = (loss(1e-6) - loss(-1e-6)) / 2e-6
    gradient = video_loss.engine.infer({"latents": latents.astype(np.float32), **given})["gradient"]
    assert np.vdot(gradient.astype(np.float64), direction) == pytest.approx(TRUTHS["slope"], rel=2e-3)


@pytest.mark.parametrize("backend", ["onnxruntime", "paddle"])
def test_both_plans_agree(engines, backend, data, targets):
    results = []
    for plan in ("segmented", "whole"):
        folder = engines("recipe_hjb", backend, "--refine", "--refine-plan", plan)
        with EngineSet.open(folder, refine=True).open_loss_gradient() as engine:
            loss = VideoLoss(engine, targets, data.expected["hjb_reference_embedding"], 64, 64, CHUNK)
            results.append(loss(data.expected["hjb_z_in"][3]))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    compare(results[0][1], results[1][1], cosine=0.99999)


def test_a_refined_run_is_the_published_one(refining, case_folder, data, tmp_path):
    """Free-running: HJB is chaotic, the published code agrees with itself to 44 dB (docs/model.md, section 8)."""
    first, last = data.parameters.refine
    arguments = [
        *("--engines", refining, "--case", case_folder("recipe_hjb"), "--out", tmp_path / "out", "--quiet"),
        *("--noise", case_folder("recipe_hjb") / "noise.npz", "--steps", data.parameters.steps),
        *("--refine", "--refine-start", first, "--refine-end", last, "--refine-iters", data.parameters.iters),
        *("--compat", "upstream"),
    ]
    assert main([str(argument) for argument in arguments]) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [step["step"] for step in run["refine"]] == list(range(first, last + 1))
    losses = [loss for step in run["refine"] for loss in step["losses"]]
    assert losses == pytest.approx(data.expected["hjb_loss"].tolist(), rel=0.01)
    assert all(norm > 0 for step in run["refine"] for norm in step["gradient_norms"])
    # Measured bytes may be 0 here: this process has had room for such small engines before.
    assert run["refinement"]["measured_bytes"] >= 0 and run["refinement"]["predicted_bytes"] > 0
    for i, wanted in enumerate(data.expected["frames_float"]):
        levels = np.clip(wanted / 2 + 0.5, 0, 1).transpose(1, 2, 0) * 255
        found = np.asarray(Image.open(tmp_path / "out" / "frames" / f"frame_{i}.png"), np.float64)
        assert 10 * np.log10(255**2 / np.mean((found - levels) ** 2)) > 35
