"""The float32 truth of the loss gradient, Paddle's own autograd, against the stored run of the published code."""

import numpy as np
import pytest

from sa.benchmarks.peers.reference import ReferenceLossGradient
from sa.runtime.contract import Shapes
from sa.runtime.refinement.crops import Box, crop_matrices

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Non compatible API")  # Paddle's, where PyTorch is loaded too


def test_loss_and_gradient_of_every_stored_iteration(golden, checkpoint):
    data = golden("recipe_hjb")
    stored, p = data.expected, data.parameters
    shapes = Shapes(height=p.height, width=p.width, tile_size=p.tile_size, decode_chunk=p.chunk)
    crops = [crop_matrices(Box(*box), p.height, p.width) for box in stored["hjb_boxes"]]
    rows, columns = map(np.stack, zip(*crops, strict=True))
    with ReferenceLossGradient(checkpoint("recipe_hjb"), shapes, threads=2) as engine:
        for k, latents in enumerate(stored["hjb_z_in"]):
            loss, gradients = 0.0, []
            for start in range(0, p.frames, p.chunk):
                chunk = slice(start, start + p.chunk)
                count = len(latents[0][chunk])
                result = engine.infer(
                    {
                        "latents": latents[0][chunk],
                        "rows": rows[chunk],
                        "columns": columns[chunk],
                        "reference": stored["hjb_reference_embedding"],
                        "weights": np.full(count, 1 / p.frames, np.float32),
                    }
                )
                loss += float(result["loss"][0])
                gradients.append(result["gradient"])
            gradient, truth = np.concatenate(gradients).astype(np.float64), stored["hjb_grad"][k][0].astype(np.float64)
            norms = np.linalg.norm(gradient), np.linalg.norm(truth)
            assert loss == pytest.approx(float(stored["hjb_loss"][k]), rel=1e-5)
            assert np.vdot(gradient, truth) / (norms[0] * norms[1]) > 0.9999
            assert norms[0] == pytest.approx(norms[1], rel=1e-3)
