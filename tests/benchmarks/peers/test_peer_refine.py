"""HJB by autograd against the stored run of the published code, every iteration started from the stored latents."""

import numpy as np
import pytest
from conftest import relative

pytest.importorskip("diffusers", reason="needs the extra `peers`: make test-peers")

from sa.benchmarks.peers.refine import Descent, FaceLoss
from sa.export.checkpoint import Checkpoint


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


def refined_steps(case) -> list[range]:
    """The iterations of each refined step, as places in the stored arrays; Adam begins anew with each."""
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
