"""What the golden cases do not test of the networks."""

import numpy as np
import paddle
import pytest
from network_checks import fill, run
from shared import GOLDEN, id_attention_weights, relative

from sa.benchmarks.fixtures.recipe import tensor
from sa.export.checkpoint.architecture import ArcFaceConfig, VaeConfig
from sa.export.engines.roles import slots
from sa.export.networks.arcface import ArcFace, config_from_tensors
from sa.export.networks.layers import GroupNorm, attend, attend_by_frame
from sa.export.networks.transformer import BlockInputs, IDAttention
from sa.export.networks.vae import VaeDecoder
from sa.runtime.errors import InputError


def test_id_attention_at_true_width():
    stored = id_attention_weights()
    norm = fill(paddle.nn.LayerNorm(320), lambda name, shape: stored[f"norm2.{name}"])
    attention = fill(IDAttention(320, 5, 1024), lambda name, shape: stored[f"attn2.{name}"])
    with np.load(GOLDEN / "units" / "id_attn2_c320.npz") as unit:
        tokens = unit["encoder_hidden_states"][:1]  # the same for both frames
        x = paddle.to_tensor(run(norm, unit["x"]))
        for branch, told in (("cond", tokens), ("uncond", np.zeros_like(tokens))):
            with paddle.no_grad():
                result = attention(x, BlockInputs(2, x, paddle.to_tensor(told))).numpy()
            assert relative(result, unit[f"out_{branch}"]) < 1e-4


def test_arcface_gives_the_golden_embeddings(golden):
    data = golden("recipe_hjb")
    arc = data.parameters.arc
    config = ArcFaceConfig(blocks=arc["layers"], width=arc["width"], features=512)
    network = fill(ArcFace(config), lambda name, shape: tensor(name, shape, "arcface"))
    assert relative(run(network, data.expected["hjb_reference_crop"]), data.expected["hjb_reference_embedding"]) < 1e-4
    assert relative(run(network, data.expected["hjb_crop_it0"]), data.expected["hjb_embedding_it0"]) < 1e-4


def test_arcface_depth_width_and_features_come_from_the_tensors():
    config = ArcFaceConfig(blocks=(3, 13, 30, 3), width=64, features=512)
    with paddle.LazyGuard():
        shapes = {name: slot.shape for name, slot in slots(ArcFace(config)).items()}
    assert config_from_tensors(shapes, "file") == config
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == pytest.approx(65.16e6, rel=2e-3)
    with pytest.raises(InputError, match="not an ArcFace"):
        config_from_tensors({"conv1.weight": (64, 3, 3, 3)}, "file")
    with pytest.raises(InputError, match="is no ArcFace that can be run: "):
        config_from_tensors(shapes | {"layer3.99.conv1.weight": (256, 256, 3, 3)}, "file")


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_decoders_middle_pairs_its_attention_with_the_second_block(layers):
    """One block runs without the attention, and a third never runs (docs/model.md, section 3.5)."""
    config = VaeConfig(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=layers,
        latent_channels=4,
        in_channels=3,
        out_channels=3,
        scaling_factor=0.2,
    )
    network = fill(VaeDecoder(config), lambda name, shape: tensor(name, shape, "vae"))
    latents = np.random.default_rng(0).standard_normal((2, 4, 2, 2), np.float32)
    before = run(network, latents)

    def changed_by(part):
        parameter = dict(network.named_parameters())[f"decoder.mid_block.{part}"]
        kept = parameter.numpy()
        parameter.set_value(kept * 3 + 1)
        after = run(network, latents)
        parameter.set_value(kept)
        return not np.array_equal(before, after)

    assert changed_by("resnets.0.spatial_res_block.conv1.weight")
    assert changed_by("attentions.0.to_v.weight") == (layers > 1)
    if layers > 1:
        assert changed_by("resnets.1.spatial_res_block.conv1.weight")
    if layers > 2:
        assert not changed_by("resnets.2.spatial_res_block.conv1.weight")


@pytest.mark.parametrize("shape", [(3, 64, 5, 7), (1, 32, 2, 6), (2, 96, 1, 1)])
def test_group_norm_keeps_its_digits_where_the_mean_outweighs_the_spread(shape):
    x = (np.random.default_rng(1).standard_normal(shape) + 50).astype(np.float32)
    norm = fill(GroupNorm(shape[1], 1e-6), lambda name, s: tensor(name, s, "norm"))
    groups = x.astype(np.float64).reshape(shape[0], 32, -1)
    centred = groups - groups.mean(-1, keepdims=True)
    truth = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    weight, bias = (tensor(name, (shape[1],), "norm").reshape(1, -1, 1, 1) for name in ("weight", "bias"))
    assert relative(run(norm, x), truth.reshape(shape) * weight + bias) < 2e-5


def test_attention_by_frame_is_attention():
    query, key, value = np.random.default_rng(2).standard_normal((3, 3, 10, 8), np.float32)
    tensors = [paddle.to_tensor(array) for array in (query, key, value)]
    whole = attend(*tensors, heads=2).numpy()
    np.testing.assert_allclose(attend_by_frame(*tensors, heads=2).numpy(), whole, rtol=1e-5, atol=1e-6)
    logits = np.einsum("bnhd,bmhd->bhnm", *(a.reshape(3, 10, 2, 4).astype(float) for a in (query, key))) / 2
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    truth = np.einsum("bhnm,bmhd->bnhd", weights, value.reshape(3, 10, 2, 4)).reshape(3, 10, 8)
    np.testing.assert_allclose(whole, truth, rtol=1e-5, atol=1e-6)
