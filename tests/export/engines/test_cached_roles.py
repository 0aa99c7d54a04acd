"""The UNet cut at every depth: both halves together are the whole, in float64, and the shallow one costs little."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from network_checks import by_recipe
from shared import relative

from sa.benchmarks.fixtures.layout import FULL_SIZE, SMALL, write_configs
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.cached_roles import with_cache
from sa.export.engines.roles import DEFINITIONS
from sa.export.engines.specialize import specialize
from sa.export.engines.trace import call_cost, trace
from sa.export.networks.deep_features import KeepingUNet, ShallowUNet, deep_shape, deepest
from sa.export.networks.unet import UNet
from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError

EXACT = 1e-12


def checkpoint(folder: Path, configs: dict) -> Checkpoint:
    """Of configs alone: nothing here reads weights."""
    write_configs(folder, configs)
    return Checkpoint(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two layers in every level, as in the true size."""
    unet = SMALL["unet/config.json"] | {"layers_per_block": 2, "block_out_channels": (32, 64, 64, 96)}
    return checkpoint(tmp_path_factory.mktemp("small"), SMALL | {"unet/config.json": unet})


@pytest.fixture
def float64():
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


@pytest.fixture
def network(float64, small):
    return by_recipe(UNet(small.unet))


@pytest.fixture
def inputs(small):
    generator = np.random.default_rng(6)
    shapes = (2, 2, 8, 8, 16), (1,), (1, 3), (2, 5, small.unet.cross_attention_dim), (2, 2, 32, 8, 16)
    return [paddle.to_tensor(generator.standard_normal(shape)) for shape in shapes]


@pytest.mark.parametrize("depth", range(1, 12))
def test_a_shallow_call_with_the_feature_of_the_same_call_is_the_whole(small, network, inputs, depth):
    assert deepest(small.unet) == 11
    with paddle.no_grad():
        whole = network(*inputs)
        velocities, deep = KeepingUNet(network, network.embed, depth)(*inputs)
        again = ShallowUNet(network, network.embed, depth)(*inputs, deep)
        other = ShallowUNet(network, network.embed, depth)(*inputs, paddle.roll(deep, 1, axis=-1))
    assert tuple(deep.shape) == (2, 2, *deep_shape(small.unet, depth, 8, 16))
    np.testing.assert_array_equal(velocities, whole)
    assert relative(again.numpy(), whole.numpy()) < EXACT
    assert relative(other.numpy(), whole.numpy()) > 1e-2


@pytest.mark.parametrize("depth", [1, 4])
def test_layers_that_are_not_recomputed_are_not_asked(network, inputs, depth):
    """Not even for their shape: whatever comes from them comes in the feature."""
    called = []
    layers = [(f"down {i}", layer) for i, level in enumerate(network.down_blocks) for layer in level.resnets]
    layers += [(f"up {i}", layer) for i, level in enumerate(network.up_blocks) for layer in level.resnets]
    layers.append(("mid", network.mid_block))
    hooks = [layer.register_forward_pre_hook(lambda *_, name=name: called.append(name)) for name, layer in layers]
    with paddle.no_grad():
        _, deep = KeepingUNet(network, network.embed, depth)(*inputs)
        called.clear()
        ShallowUNet(network, network.embed, depth)(*inputs, deep)
    for hook in hooks:
        hook.remove()
    assert called == {1: ["up 3"], 4: ["down 0", "down 0", "up 2", *["up 3"] * 3]}[depth]


def test_the_specialized_halves_are_the_specialized_whole(network, inputs):
    parts = specialize(network)
    sample, timestep, ids, tokens, pose = inputs
    with paddle.no_grad():
        made = [parts.conditioning(sample[i, :, 4:], tokens[i : i + 1]) for i in range(2)]
        features, constants, positions = zip(*made, strict=True)
        given = (
            sample[:1, :, :4],
            pose[:1],
            parts.time_embedding(timestep, ids),
            paddle.stack([one[:1] for one in features]),
            paddle.to_tensor([1.0, 0.0], "float64").reshape([2, 1, 1, 1, 1]),
            paddle.concat(constants),
            positions[0],
        )
        cached = parts.unet
        velocities, deep = KeepingUNet(cached.unet, cached.embed, 2)(*given)
        np.testing.assert_array_equal(velocities, cached(*given))
        again = ShallowUNet(cached.unet, cached.embed, 2)(*given, deep)
    assert relative(again.numpy(), velocities.numpy()) < EXACT


def test_a_unet_has_only_so_many_layers(small):
    with pytest.raises(InputError, match=r"^--cache-depth must be 1 to 11 for the UNet of this checkpoint, not 12\.$"):
        with_cache(DEFINITIONS, 12, small)


@pytest.mark.parametrize(("depth", "share", "million"), [(1, 0.0762, 8.3), (2, 0.2205, 23.8)])
def test_arithmetic_and_parameters_at_true_size(tmp_path, depth, share, million):
    full_size = checkpoint(tmp_path, FULL_SIZE)
    shapes = Shapes(height=512, width=512, tile_size=16, decode_chunk=4)
    flops, parameters = {}, {}
    for definition in with_cache(DEFINITIONS, depth, full_size):
        if definition.role in ("unet", "unet_shallow"):
            inputs, outputs = definition.inputs(full_size, shapes), definition.outputs(full_size, shapes)
            method = definition.method(definition.network(full_size))
            traced = trace(method, inputs, outputs)
            flops[definition.role] = call_cost(traced, method, inputs, outputs).flops
            parameters[definition.role] = traced.parameter_count / 1e6
    assert flops["unet_shallow"] / flops["unet"] == pytest.approx(share, abs=1e-4)
    assert parameters == {"unet": pytest.approx(1268, abs=1), "unet_shallow": pytest.approx(million, abs=0.1)}
