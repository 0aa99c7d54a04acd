"""HJB by autograd against the stored run of the published code, every iteration started from the stored latents."""

import numpy as np
import pytest
from shared import relative

pytest.importorskip("diffusers", reason="needs the extra `peers`: make test-peers")

from sa.benchmarks.fixtures.face_inputs import loss_gradient_inputs
from sa.benchmarks.peers import open_loss_gradient
from sa.benchmarks.peers.loss_gradient import Descent, FaceLoss
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.contract import Shapes
from sa.runtime.errors import UserError
from sa.runtime.refinement.crops import Box, crop_matrices


@pytest.fixture(scope="module")
def case(golden):
    return golden("recipe_hjb")


@pytest.fixture(scope="module")
def stored(case):
    return case.expected


@pytest.fixture(scope="module")
def face_loss(checkpoint):
    return FaceLoss.open(Checkpoint(checkpoint("recipe_hjb")))


def test_embeddings_of_the_reference_and_of_the_first_crops(face_loss, stored):
    assert relative(face_loss.embed(stored["hjb_reference_crop"]), stored["hjb_reference_embedding"]) < 1e-4
    assert relative(face_loss.embed(stored["hjb_crop_it0"]), stored["hjb_embedding_it0"]) < 1e-4


def test_crops_of_the_first_iteration(face_loss, stored, case):
    latents, chunk = stored["hjb_z_in"][0][0], case.parameters.chunk
    crops = [
        face_loss.faces(latents[i : i + chunk], stored["hjb_boxes"][i : i + chunk])
        for i in range(0, len(latents), chunk)
    ]
    assert relative(np.concatenate(crops), stored["hjb_crop_it0"]) < 1e-4


def test_loss_and_gradient_of_every_iteration(face_loss, stored, case):
    reference, chunk = stored["hjb_reference_embedding"], case.parameters.chunk
    for k, latents in enumerate(stored["hjb_z_in"]):
        loss, gradient = face_loss.of_video(latents[0], stored["hjb_boxes"], reference, chunk)
        truth = stored["hjb_grad"][k][0].astype(np.float64)
        assert loss == pytest.approx(float(stored["hjb_loss"][k]), rel=1e-5)
        assert_along(gradient, truth)


def assert_along(gradient: np.ndarray, truth: np.ndarray) -> None:
    """As close as the golden data asks for: single values jump where an activation changes sign."""
    norm, true_norm = np.linalg.norm(gradient.astype(np.float64)), np.linalg.norm(truth)
    assert np.vdot(gradient, truth) / (norm * true_norm) > 0.9999
    assert norm == pytest.approx(true_norm, rel=1e-3)


def test_chunks_add_up_to_the_videos_loss(face_loss, stored):
    latents, boxes, reference = stored["hjb_z_in"][0][0], stored["hjb_boxes"], stored["hjb_reference_embedding"]
    loss, gradient = face_loss.of_video(latents, boxes, reference, chunk=4)
    first, first_gradient = face_loss.of_chunk(latents[:4], boxes[:4], reference, frames=5)
    last, last_gradient = face_loss.of_chunk(latents[4:], boxes[4:], reference, frames=5)
    assert loss == pytest.approx(first + last, rel=1e-6)
    assert np.array_equal(gradient, np.concatenate([first_gradient, last_gradient]))


@pytest.fixture(scope="module")
def engine(checkpoint, case):
    p = case.parameters
    shapes = Shapes(height=p.height, width=p.width, tile_size=p.tile_size, decode_chunk=p.chunk)
    with open_loss_gradient("eager", checkpoint("recipe_hjb"), shapes) as engine:
        yield engine


def test_the_engine_gives_the_stored_gradient_from_crops_as_matrices(engine, stored, case):
    """Chunk by chunk, the last one short. Matrices made from the stored boxes cut and resize."""
    p = case.parameters
    losses, gradients = [], []
    for i in range(0, p.frames, p.chunk):
        latents, boxes = stored["hjb_z_in"][0][0][i : i + p.chunk], stored["hjb_boxes"][i : i + p.chunk]
        crops = [crop_matrices(Box(*box), p.height, p.width) for box in boxes]
        result = engine.infer(
            {
                "latents": latents,
                "rows": np.stack([rows for rows, _ in crops]),
                "columns": np.stack([columns for _, columns in crops]),
                "reference": stored["hjb_reference_embedding"],
                "weights": np.full(len(latents), 1 / p.frames, np.float32),
            }
        )
        losses.append(result["loss"])
        gradients.append(result["gradient"])
    truth = stored["hjb_grad"][0][0].astype(np.float64)
    assert np.sum(losses) == pytest.approx(float(stored["hjb_loss"][0]), rel=1e-5)
    assert_along(np.concatenate(gradients), truth)


def test_a_frame_without_weight_does_not_count(engine):
    inputs = loss_gradient_inputs(engine.contract, np.random.default_rng(5))
    both, one = (np.array(weights, np.float32) for weights in ([0.5, 0.5, 0, 0], [0.5, 0, 0, 0]))
    whole, first = engine.infer({**inputs, "weights": both}), engine.infer({**inputs, "weights": one})
    assert whole["loss"] > first["loss"] > 0
    assert first["loss"].shape == (1,) and first["gradient"].shape == inputs["latents"].shape
    assert whole["gradient"].any() and np.isfinite(whole["gradient"]).all()
    none = engine.infer({**inputs, "weights": np.zeros(4, np.float32)})
    assert not none["loss"].any() and not none["gradient"].any()


def test_every_call_is_a_graph_of_its_own(engine):
    """Nothing accumulates, the inputs stay as they are, and the weights stay frozen."""
    inputs = loss_gradient_inputs(engine.contract, np.random.default_rng(6))
    kept = {name: value.copy() for name, value in inputs.items()}
    for value in inputs.values():
        value.flags.writeable = False
    first, second = engine.infer(inputs), engine.infer(inputs)
    assert np.array_equal(first["gradient"], second["gradient"]) and np.array_equal(first["loss"], second["loss"])
    assert all(np.array_equal(kept[name], inputs[name]) for name in inputs)
    networks = engine._face_loss.decoder, engine._face_loss.recogniser
    assert all(not p.requires_grad and p.grad is None for network in networks for p in network.parameters())


@pytest.mark.parametrize("kind", ["compile", "onnx", "eager-fp16", "graph", "upstream:checkout"])
def test_only_the_eager_peer_offers_it(checkpoint, kind):
    shapes = Shapes(height=64, width=64, tile_size=2, decode_chunk=1)
    with pytest.raises(UserError, match=rf"^the {kind.partition(':')[0]} peer does not offer the loss gradient: take "):
        open_loss_gradient(kind, checkpoint("recipe_hjb"), shapes)


def refined_steps(case) -> list[range]:
    """The iterations of each refined step, as indices into the stored arrays. Adam starts anew with each step."""
    first, last = case.parameters.refine
    iterations = case.parameters.iters
    return [range(i * iterations, (i + 1) * iterations) for i in range(last - first + 1)]


def test_adam_makes_the_stored_latents_of_the_stored_gradients(stored, case):
    for step in refined_steps(case):
        descent = Descent(stored["hjb_z_in"][step[0]], float(stored["hjb_lr"][step[0]]))
        for k in step:
            assert relative(descent.step(stored["hjb_grad"][k]), stored["hjb_z_out"][k]) < 1e-5


def test_a_whole_refined_step_keeps_to_the_stored_losses(face_loss, stored, case):
    """Free-running, so only the losses can be compared: Adam moves latents by the sign of tiny gradients."""
    for step in refined_steps(case):
        latents, losses = face_loss.refine(
            stored["hjb_z_in"][step[0]][0],
            stored["hjb_boxes"],
            stored["hjb_reference_embedding"],
            float(stored["hjb_lr"][step[0]]),
            len(step),
            case.parameters.chunk,
        )
        assert latents.shape == stored["hjb_z_in"].shape[2:]
        assert losses == pytest.approx(stored["hjb_loss"][list(step)], rel=1e-2)
