"""The specialized UNet computes what the plain one does: each rewrite, and all together, in float64."""

import numpy as np
import paddle
import pytest
from network_checks import by_recipe, fill, run
from shared import GOLDEN, id_attention_weights, relative

from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.specialize import (
    convolve_image,
    convolve_latents,
    fold_id_attention,
    fold_image_attention,
    specialize,
)
from sa.export.networks.specialized import CachedInputs, FoldedIDAttention, PackedSlice
from sa.export.networks.transformer import BlockInputs, IDAttention, ImageAttention
from sa.export.networks.unet import UNet

EXACT = 1e-12


@pytest.fixture
def float64():
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


@pytest.fixture
def random():
    generator = np.random.default_rng(7)
    return lambda *shape: generator.standard_normal(shape)


def folded(attention, x, tokens, frames):
    dim, heads = attention.to_q.weight.shape[1], attention.heads
    constants = fold_id_attention(attention, paddle.to_tensor(tokens))
    layer = FoldedIDAttention(dim, heads, PackedSlice(0, constants.shape[-1]))
    with paddle.no_grad():
        return layer(paddle.to_tensor(x), CachedInputs(frames, None, constants, None)).numpy()


@pytest.mark.parametrize(("dim", "heads", "frames", "pixels"), [(64, 1, 3, 15), (96, 3, 1, 7), (128, 2, 2, 1)])
def test_folded_id_attention_is_id_attention(float64, random, dim, heads, frames, pixels):
    """Three branches; the tokens of the last are zero."""
    attention = by_recipe(IDAttention(dim, heads, 48))
    x, tokens = 3 * random(3 * frames, pixels, dim), random(3, 5, 48)
    tokens[2] = 0
    with paddle.no_grad():
        plain = attention(paddle.to_tensor(x), BlockInputs(frames, None, paddle.to_tensor(tokens))).numpy()
    result = folded(attention, x, tokens, frames)
    assert relative(result, plain) < EXACT
    bias = attention.to_out[0].bias.numpy()
    assert relative(result[2 * frames :], np.broadcast_to(bias, result[2 * frames :].shape)) < EXACT


def test_id_attention_survives_values_far_from_zero(float64, random):
    """The published formula subtracts their mean; the sums of the folded one must not cancel."""
    attention = by_recipe(IDAttention(64, 2, 32))
    x, tokens = random(2, 20, 64), random(1, 5, 32)
    weight = attention.processor.id_to_v.weight
    everywhere = np.linalg.pinv(tokens[0, 1:]).sum(axis=1, keepdims=True)  # every face token's product with it is 1
    weight.set_value(weight.numpy() + 1000 * everywhere)
    with paddle.no_grad():
        plain = attention(paddle.to_tensor(x), BlockInputs(2, None, paddle.to_tensor(tokens))).numpy()
    assert relative(folded(attention, x, tokens, 2), plain) < EXACT


def test_id_attention_at_true_width_in_float32():
    stored = id_attention_weights()
    norm = fill(paddle.nn.LayerNorm(320), lambda name, shape: stored[f"norm2.{name}"])
    attention = fill(IDAttention(320, 5, 1024), lambda name, shape: stored[f"attn2.{name}"])
    with np.load(GOLDEN / "units" / "id_attn2_c320.npz") as unit:
        tokens = unit["encoder_hidden_states"][:1]  # the same for both frames
        x = run(norm, unit["x"])
        assert relative(folded(attention, x, tokens, 2), unit["out_cond"]) < 1e-4
        assert relative(folded(attention, x, np.zeros_like(tokens), 2), unit["out_uncond"]) < 1e-4


def test_attention_to_one_token_is_a_vector(float64, random):
    attention = by_recipe(ImageAttention(64, 2, 32))
    x, tokens = random(2, 11, 64), random(2, 5, 32)
    tokens[1] = 0
    with paddle.no_grad():
        plain = attention(paddle.to_tensor(x), BlockInputs(1, None, paddle.to_tensor(tokens))).numpy()
        vector = fold_image_attention(attention, paddle.to_tensor(tokens)).numpy()
    assert relative(np.broadcast_to(vector[:, None], plain.shape), plain) < EXACT
    np.testing.assert_array_equal(vector[1], attention.to_out[0].bias.numpy())


def test_the_first_convolution_is_the_sum_of_its_halves(float64, random):
    conv = by_recipe(paddle.nn.Conv2D(8, 32, 3, padding=1))
    latents, image = (paddle.to_tensor(random(3, 4, 5, 7)) for _ in range(2))
    with paddle.no_grad():
        plain = conv(paddle.concat([latents, image], axis=1)).numpy()
        parts = convolve_latents(conv, latents) + convolve_image(conv, image)
    assert relative(parts.numpy(), plain) < EXACT


def test_the_three_networks_are_the_unet(float64, random, checkpoint):
    config = Checkpoint(checkpoint("recipe_hjb")).unet
    plain = by_recipe(UNet(config))
    parts = specialize(plain)
    frames, height, width, context = 3, 8, 16, config.cross_attention_dim
    latents, image = random(1, frames, 4, height, width), random(1, 1, 4, height, width)
    sample = np.concatenate([latents, np.repeat(image, frames, axis=1)], axis=2).repeat(2, axis=0)
    pose = random(2, frames, config.block_out_channels[0], height, width)
    tokens, timestep, ids = random(2, 5, context), np.array([0.7]), np.array([[6, 127, 0.02]])
    tokens[1] = 0
    sample[1, :, 4:] = 0
    pose[1] = 0
    truth = run(plain, sample, timestep, ids, tokens, pose)
    with paddle.no_grad():
        cached = [
            parts.conditioning(paddle.to_tensor(sample[b, :, 4:]), paddle.to_tensor(tokens[b : b + 1])) for b in (0, 1)
        ]
    features = np.stack([one[0].numpy()[:1] for one in cached])
    posed = np.array([1.0, 0.0]).reshape(2, 1, 1, 1, 1)
    constants = np.concatenate([one[1].numpy() for one in cached])
    rows = run(parts.time_embedding, timestep, ids)
    assert rows.shape == (1, parts.rows) and constants.shape == (2, parts.constants)
    positions = cached[0][2].numpy()
    velocity = run(parts.unet, latents, pose[:1], rows, features, posed, constants, positions)
    assert relative(velocity, truth) < EXACT
    # one branch alone
    alone = run(parts.unet, latents, pose[:1], rows, features[:1], posed[:1], constants[:1], positions)
    assert relative(alone, truth[:1]) < EXACT
    # and the plain UNet is as it was
    np.testing.assert_array_equal(run(plain, sample, timestep, ids, tokens, pose), truth)
