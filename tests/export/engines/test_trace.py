"""Arithmetic and parameters of programs traced at full size, against the counts in docs/model.md, section 13."""

import gc
import traceback

import pytest
from paddle.nn.layer import layers

from sa.benchmarks.fixtures.layout import FULL_SIZE, write_configs
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.roles import CONDITIONING, PLAIN_DEFINITIONS, PLAIN_UNET, SPECIALIZED_UNET, TIME_EMBEDDING
from sa.export.engines.trace import call_cost, trace
from sa.export.gradient import Gradient
from sa.runtime.contract import Shapes, TensorSpec

SHAPES = Shapes(height=512, width=512, tile_size=16, decode_chunk=4)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    """A checkpoint of the published configs. Tracing needs no weights."""
    folder = tmp_path_factory.mktemp("full-size")
    write_configs(folder, FULL_SIZE)
    return Checkpoint(folder)


def upsampling(frames, *levels):
    """TFLOP of the published upsampling convolutions; levels are (channels, side before). Ours take 4/9 of it."""
    return sum(2 * 9 * channels**2 * frames * (2 * side) ** 2 for channels, side in levels) / 1e12


@pytest.mark.parametrize(
    ("role", "tflop", "million"),
    [
        ("unet", 2 * (20.31 - 5 / 9 * upsampling(16, (1280, 8), (1280, 16), (640, 32))), 1550.18),
        ("vae_decoder", 12.17 - 5 / 9 * upsampling(4, (512, 64), (512, 128), (256, 256)), 63.58),
        ("vae_encoder", 1.12, 34.16),
        ("image_encoder", 0.335, 632.1),
        ("face_encoder", 0.44e-3, 57.18),
        ("pose_net", 2.53e-3, 0.21),
    ],
)
def test_arithmetic_and_parameters_of_the_true_size(full_size, role, tflop, million):
    definition = next(definition for definition in PLAIN_DEFINITIONS if definition.role == role)
    network = definition.network(full_size)
    inputs, outputs = definition.inputs(full_size, SHAPES), definition.outputs(full_size, SHAPES)
    traced = trace(network.forward, inputs, outputs)
    cost = call_cost(traced, network.forward, inputs, outputs)
    # We project the tokens to keys and values once, not once per frame and pixel: up to 1 % less.
    assert cost.flops / 1e12 == pytest.approx(tflop, rel=0.012)
    assert traced.parameter_count / 1e6 == pytest.approx(million, rel=2e-3, abs=0.006)
    assert traced.bytes() > 4 * traced.parameter_count


def test_the_decoders_gradient_at_true_size(full_size):
    """The VJP takes as much arithmetic as the decoder (12.31 and 12.17 TFLOP; attention makes the difference)."""
    definition = next(definition for definition in PLAIN_DEFINITIONS if definition.role == "vae_decoder")
    inputs, outputs = definition.inputs(full_size, SHAPES), definition.outputs(full_size, SHAPES)
    gradient = Gradient(
        "latents", TensorSpec(name="dy", shape=outputs[0].shape), TensorSpec(name="dx", shape=inputs[0].shape)
    )
    network = definition.network(full_size)
    there = call_cost(trace(network.forward, inputs, outputs), network.forward, inputs, outputs)
    back = trace(network.forward, inputs, outputs, gradient)
    both = call_cost(back, network.forward, inputs, outputs, gradient)
    assert both.flops / there.flops == pytest.approx(2.0, abs=0.03)
    # All tensors that the VJP needs are alive when the backward pass begins: tens of GB. Segments avoid that.
    assert both.working_bytes > 20e9 > there.working_bytes


def test_what_specialization_saves_at_true_size(full_size):
    """In both branches, attention to tokens is 1.72 of the published 40.62 TFLOP (docs/model.md, section 13)."""
    network = PLAIN_UNET.network(full_size)
    costs, parameters = {}, {}
    for definition in (PLAIN_UNET, CONDITIONING, TIME_EMBEDDING, SPECIALIZED_UNET):
        name = f"{definition.role} specialized" if definition is SPECIALIZED_UNET else definition.role
        inputs, outputs = definition.inputs(full_size, SHAPES), definition.outputs(full_size, SHAPES)
        forward = definition.method(network)
        traced = trace(forward, inputs, outputs)
        costs[name] = call_cost(traced, forward, inputs, outputs).flops / 1e12
        parameters[name] = traced.parameters.keys()
    attention = costs["unet"] - costs["unet specialized"]
    # Not saved: keys and values, which the plain program computes once (0.05), and the probabilities (0.12).
    assert attention == pytest.approx(1.72 - 0.05 - 0.12, abs=0.06)
    assert costs["conditioning"] < 0.01 and costs["time_embedding"] < 0.01
    read = set.union(*(set(parameters[name]) for name in ("conditioning", "time_embedding", "unet specialized")))
    dead = parameters["unet"] - read
    assert len(dead) == 16 * (4 + 1)  # temporal norm (2), query, key of the image token; its spatial key
    assert not parameters["unet specialized"] & parameters["time_embedding"]


def test_tracing_leaves_nothing_behind(full_size):
    """Paddle would keep the call stack of every operator. Tracing prevents that, and restores what it patches."""

    def frames():
        gc.collect()
        return sum(isinstance(kept, traceback.FrameSummary) for kept in gc.get_objects())

    definition = next(definition for definition in PLAIN_DEFINITIONS if definition.role == "pose_net")
    network = definition.network(full_size)
    extract_stack, name_struct, before = traceback.extract_stack, layers.name_struct, frames()
    trace(definition.method(network), definition.inputs(full_size, SHAPES), definition.outputs(full_size, SHAPES))
    assert frames() == before
    assert (traceback.extract_stack, layers.name_struct) == (extract_stack, name_struct)
