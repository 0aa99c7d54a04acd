"""Attention over frames: the definition against loops, and the kernel against the definition."""

import numpy as np
import pytest
import torch
from kernel_checks import GuardedMemory, assert_close

from sa.kernels.temporal_attention.benchmark import in_pytorch
from sa.kernels.temporal_attention.kernel import temporal_attention
from sa.kernels.temporal_attention.reference import temporal_attention as reference


def problem(clips: int, clip_frames: int, pixels: int, heads: int, head_dim: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal((clips * clip_frames, pixels, heads * head_dim)) for _ in range(3)]


def check(
    memory: GuardedMemory, arguments: list[np.ndarray], clip_frames: int, heads: int, dtype: torch.dtype = torch.float32
) -> None:
    tensors = [memory.put(values, dtype) for values in arguments]
    expected = reference(*(tensor.double().numpy() for tensor in tensors), clip_frames, heads)
    assert_close(temporal_attention(*tensors, clip_frames, heads), expected)


def test_definition_attends_within_one_clip_pixel_and_head():
    arguments = problem(2, 3, 4, 2, 5)
    result = reference(*arguments, clip_frames=3, heads=2)
    for clip, pixel, head in np.ndindex(2, 4, 2):
        at = np.s_[clip * 3 : clip * 3 + 3, pixel, head * 5 : head * 5 + 5]
        query, key, value = (packed[at] for packed in arguments)
        weights = np.exp(query @ key.T / 5**0.5)
        np.testing.assert_allclose(result[at], weights / weights.sum(1, keepdims=True) @ value, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("clips", "clip_frames", "pixels", "heads", "head_dim"),
    [
        (1, 2, 1, 1, 16),  # the smallest
        (2, 3, 5, 3, 24),  # frames and head fill no block
        (1, 17, 2, 2, 100),  # one frame more than 16
        (1, 32, 2, 1, 128),  # the largest
        (2, 16, 3, 5, 64),  # the true width of the finest level
    ],
)
def test_kernel(memory, dtype, clips, clip_frames, pixels, heads, head_dim):
    check(memory, problem(clips, clip_frames, pixels, heads, head_dim), clip_frames, heads, dtype)


def test_large_logits(memory):
    """Logits of 300 and more: exponentials overflow unless the largest logit is subtracted first."""
    query, key, value = problem(1, 5, 2, 1, 16)
    check(memory, [30 * query, 30 * key, value], 5, 1)


def test_negative_logits(memory):
    """If all logits are far below zero, padding with logit 0 would take all the weight."""
    query, key, value = problem(1, 5, 2, 1, 16)
    check(memory, [np.abs(query) * 10, -np.abs(key) * 10, value], 5, 1)


def test_the_benchmark_measures_the_same():
    arguments = problem(2, 3, 4, 2, 5)
    result = in_pytorch(*(torch.from_numpy(values).float() for values in arguments), 3, 2)
    assert_close(result, reference(*arguments, 3, 2))
