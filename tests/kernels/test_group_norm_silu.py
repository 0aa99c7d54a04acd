"""GroupNorm with SiLU: the definition against PyTorch, and the kernel against the definition."""

import numpy as np
import pytest
import torch
from kernel_checks import GuardedMemory, assert_close

from sa.kernels.group_norm_silu.benchmark import in_pytorch
from sa.kernels.group_norm_silu.kernel import group_norm_silu
from sa.kernels.group_norm_silu.reference import group_norm_silu as reference


def problem(frames: int, channels: int, pixels: int, mean: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, weight and bias; every frame and channel of x has its own mean and standard deviation."""
    random = np.random.default_rng(0)
    scale = np.exp(0.5 * random.standard_normal((frames, channels, 1)))
    x = mean + scale * (random.standard_normal((frames, channels, pixels)) + random.standard_normal(scale.shape))
    return x, 1 + 0.3 * random.standard_normal(channels), random.standard_normal(channels)


def check(
    memory: GuardedMemory,
    arguments: tuple[np.ndarray, ...],
    clip_frames: int,
    eps: float = 1e-5,
    dtype: torch.dtype = torch.float32,
) -> None:
    x, weight, bias = arguments
    tensors = memory.put(x, dtype), memory.put(weight), memory.put(bias)
    expected = reference(*(tensor.double().numpy() for tensor in tensors), clip_frames, eps)
    assert_close(group_norm_silu(*tensors, clip_frames, eps), expected)


@pytest.mark.parametrize("clip_frames", [1, 3])
def test_definition_is_pytorchs_and_the_benchmarks(clip_frames):
    arguments = problem(6, 64, 5)
    result = in_pytorch(*(torch.from_numpy(values) for values in arguments), clip_frames, 1e-5)
    np.testing.assert_allclose(reference(*arguments, clip_frames, 1e-5), result.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("clips", "clip_frames", "channels", "pixels"),
    [
        (1, 1, 32, 2),  # the smallest that has a variance
        (2, 3, 96, 65),  # one pixel more than the smallest tile, channels that fill no block
        (1, 2, 96, 1025),  # one pixel more than the largest tile
        (2, 1, 320, 36),  # the true width of the finest level, per frame
        (2, 2, 320, 36),  # and per clip
    ],
)
def test_kernel(memory, dtype, clips, clip_frames, channels, pixels):
    check(memory, problem(clips * clip_frames, channels, pixels), clip_frames, 1e-5, dtype)


def test_more_tiles_than_are_merged_at_once(memory):
    check(memory, problem(33, 32, 3), 33)


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_eps_where_values_hardly_vary(memory, eps):
    x, weight, bias = problem(2, 32, 70, mean=0)
    check(memory, (x * 1e-3, weight, bias), 2, eps)


def test_means_far_from_zero(memory):
    """At 50 standard deviations, E[x^2] - E[x]^2 would miss the tolerance by far."""
    check(memory, problem(2, 64, 1100, mean=50), 2)
