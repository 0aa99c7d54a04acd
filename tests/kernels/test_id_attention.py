"""ID attention: the definition against plain attention, and the kernel against the definition."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kernel_checks import GuardedMemory, assert_close

from sa.kernels.id_attention.benchmark import in_pytorch
from sa.kernels.id_attention.kernel import id_attention
from sa.kernels.id_attention.reference import EPS, fold
from sa.kernels.id_attention.reference import id_attention as reference

FLOAT32 = ("norm_weight", "norm_bias", "moments", "shift", "base", "gain")


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def layer(heads: int, width: int, value_mean: float = 3) -> SimpleNamespace:
    """Random weights of an attention layer, and random projections of its image and face tokens."""
    random = np.random.default_rng(0)
    channels = heads * width
    return SimpleNamespace(
        norm_weight=1 + 0.3 * random.standard_normal(channels),
        norm_bias=0.3 * random.standard_normal(channels),
        query=random.standard_normal((channels, channels)) * channels**-0.5,
        out=random.standard_normal((channels, channels)) * channels**-0.5,
        out_bias=random.standard_normal(channels),
        image_value=0.5 + random.standard_normal(channels),
        face_keys=2 * random.standard_normal((heads, 4, width)),
        face_values=value_mean + random.standard_normal((heads, 4, width)),
    )


def plain(x: np.ndarray, layer: SimpleNamespace) -> np.ndarray:
    """The conditional branch as published: queries, two attentions, one scaled to the other, projection, residual."""
    frames, tokens, _ = x.shape
    heads, _, width = layer.face_keys.shape
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS)
    queries = (normed * layer.norm_weight + layer.norm_bias) @ layer.query.T
    queries = queries.reshape(frames, tokens, heads, width)
    attention = softmax(np.einsum("fnhd,hjd->fnhj", queries, layer.face_keys) * width**-0.5)
    faces = np.einsum("fnhj,hjd->fnhd", attention, layer.face_values).reshape(x.shape)
    image = np.broadcast_to(layer.image_value, x.shape)

    def statistics(attended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return attended.mean((1, 2), keepdims=True), attended.std((1, 2), ddof=1, keepdims=True)

    (image_mean, image_deviation), (face_mean, face_deviation) = statistics(image), statistics(faces)
    scaled = (faces - face_mean) * (image_deviation / (face_deviation + EPS)) + image_mean
    return x + (image + scaled) @ layer.out.T + layer.out_bias


def problem(frames: int, tokens: int, heads: int, width: int, value_mean: float = 3) -> dict[str, np.ndarray]:
    """Arguments for definition and kernel, from a layer's weights."""
    weights = layer(heads, width, value_mean)
    folded = fold(
        weights.query,
        weights.image_value,
        weights.face_keys,
        weights.face_values,
        weights.out,
        weights.out_bias,
        tokens,
    )
    x = np.random.default_rng(1).standard_normal((frames, tokens, heads * width)) + 1
    return {"x": x, "norm_weight": weights.norm_weight, "norm_bias": weights.norm_bias, **vars(folded)}


def check(memory: GuardedMemory, arguments: dict[str, np.ndarray], dtype: torch.dtype = torch.float32) -> None:
    tensors = {
        name: memory.put(values, torch.float32 if name in FLOAT32 else dtype) for name, values in arguments.items()
    }
    expected = reference(**{name: tensor.double().numpy() for name, tensor in tensors.items()})
    result = id_attention(**tensors)
    branch_frames = len(result) // len(arguments["gain"])
    for branch in range(
        len(arguments["gain"])
    ):  # apart, so that a branch with large values does not hide errors of another
        frames = slice(branch * branch_frames, (branch + 1) * branch_frames)
        assert_close(result[frames], expected[frames])


@pytest.mark.parametrize(("heads", "width", "tokens"), [(1, 8, 1), (2, 16, 7), (5, 12, 33)])
def test_definition_is_plain_attention(heads, width, tokens):
    weights = layer(heads, width)
    arguments = problem(4, tokens, heads, width)
    result = reference(**arguments)
    expected = plain(arguments["x"][2:], weights)
    assert np.abs(result[2:] - expected).max() <= 1e-12 * np.abs(expected).max()
    np.testing.assert_array_equal(result[:2], arguments["x"][:2] + weights.out_bias)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("frames", "tokens", "heads", "width"),
    [
        (2, 1, 1, 16),  # the smallest
        (2, 65, 3, 12),  # one token more than a tile, heads and channels that fill no block
        (4, 130, 5, 13),  # three tiles, one channel more than a block
        (2, 40, 5, 64),  # the true widths
        (2, 10, 10, 64),
        (2, 33, 20, 64),
    ],
)
def test_kernel(memory, dtype, frames, tokens, heads, width):
    arguments = problem(frames, tokens, heads, width)
    arguments["gain"] *= 0.7
    check(memory, arguments, dtype)


def test_more_tiles_than_are_summed_at_once(memory):
    check(memory, problem(2, 32 * 65, 1, 4))


def test_rows_far_from_zero(memory):
    """With mean 50 and standard deviation 1, E[x^2] - E[x]^2 would leave the norm three digits."""
    arguments = problem(2, 20, 3, 50)
    arguments["x"] += 50
    check(memory, arguments)


def test_rows_that_hardly_vary(memory):
    """Their variance equals the norm's epsilon; y is then as large as the attention, not as x."""
    arguments = problem(2, 20, 3, 50)
    arguments["x"] = (arguments["x"] - 1) * 1e-5**0.5
    check(memory, arguments)


def test_large_logits(memory):
    """Logits of some hundreds: exponentials overflow unless the largest logit is subtracted first."""
    arguments = problem(2, 20, 3, 12)
    arguments["keys"] *= 100
    check(memory, arguments)


def test_values_far_from_zero(memory):
    """With mean 300 and standard deviation 1, moments of values that are not centred would leave two digits."""
    check(memory, problem(2, 20, 3, 12, value_mean=300))


def test_variance_below_zero(memory):
    """Counts as zero. Rounding can cause it where attention hardly varies; here the moments do."""
    arguments = problem(2, 20, 3, 12)
    arguments["moments"][..., :-1] = 0
    check(memory, arguments)


def test_any_branch_may_have_a_gain(memory):
    """Each branch has its own matrices."""
    arguments = problem(6, 20, 3, 12)
    for name in ("keys", "values", "moments", "shift", "base"):
        unconditional, conditional = arguments[name]
        arguments[name] = np.stack([conditional, unconditional, conditional * (1 if name == "moments" else 0.8)])
    arguments["gain"] = np.array([0.7, 0, 1.3])
    check(memory, arguments)


def test_a_branch_without_gain_gets_exactly_x_and_its_base(memory):
    arguments = {name: values.astype(np.float32) for name, values in problem(4, 70, 3, 12).items()}
    result = id_attention(**{name: memory.put(values) for name, values in arguments.items()})
    np.testing.assert_array_equal(result[:2].numpy(), arguments["x"][:2] + arguments["base"][0])


def test_a_branch_without_gain_is_not_attended(memory):
    """The probabilities and sums of the unconditional frames are not written."""
    arguments = problem(2, 20, 2, 16)
    id_attention(**{name: memory.put(values) for name, values in arguments.items()})
    probabilities, partial_sums, _ = memory.allocated
    for scratch in (probabilities, partial_sums):
        assert scratch[0].isnan().all() and not scratch[1].isnan().any()


def test_the_benchmark_measures_the_same():
    arguments = problem(4, 6, 3, 12)
    result = in_pytorch(*(torch.from_numpy(values).float() for values in arguments.values()))
    assert_close(result, reference(**arguments))
