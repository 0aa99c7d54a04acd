"""Counts from the traced programs at true size against counts made elsewhere (SPEC section 13)."""

import pytest

from sa.benchmarks.checkpoints import FULL_SIZE, write_configs
from sa.export.checkpoint import Checkpoint
from sa.export.roles import DEFINITIONS
from sa.export.trace import trace
from sa.runtime.engine_set import Shapes

SHAPES = Shapes(height=512, width=512, tile_size=16, decode_chunk=4)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    """The published configs; no weights are needed to trace."""
    folder = tmp_path_factory.mktemp("full-size")
    write_configs(folder, FULL_SIZE)
    return Checkpoint(folder)


@pytest.mark.parametrize(
    ("role", "tflop", "million"),
    [
        ("unet", 20.31, 1550.18),
        ("vae_decoder", 12.17, 63.58),
        ("vae_encoder", 1.12, 34.16),
        ("image_encoder", 0.335, 632.1),
        ("face_encoder", 0.44e-3, 57.18),
        ("pose_net", 2.53e-3, 0.21),
    ],
)
def test_arithmetic_and_parameters_of_the_true_size(full_size, role, tflop, million):
    definition = next(definition for definition in DEFINITIONS if definition.role == role)
    traced = trace(
        definition.network(full_size), definition.inputs(full_size, SHAPES), definition.output(full_size, SHAPES)
    )
    # Keys and values of the tokens are counted once here, not once per frame and pixel: up to 1 % less.
    assert traced.flops / 1e12 == pytest.approx(tflop, rel=0.012)
    assert traced.parameter_count / 1e6 == pytest.approx(million, rel=2e-3, abs=0.006)
    assert traced.bytes > 4 * traced.parameter_count
