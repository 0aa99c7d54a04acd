"""python -m sa.kernels.temporal_attention.benchmark --csv FILE: the kernel against PyTorch's between copies."""

import sys
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from sa.kernels.benchmarking import Case, run
from sa.kernels.shapes import BRANCHES, FRAMES, LEVELS, Level
from sa.kernels.temporal_attention.kernel import temporal_attention


def in_pytorch(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, clip_frames: int, heads: int
) -> torch.Tensor:
    """The same in PyTorch. Its attention needs the pixels in the batch, so copies are made."""
    packed = (
        tensor.unflatten(0, (-1, clip_frames)).unflatten(-1, (heads, -1)).permute(0, 2, 3, 1, 4).flatten(0, 1)
        for tensor in (query, key, value)
    )
    attended = F.scaled_dot_product_attention(*packed)  # [clips * pixels, heads, frames, head_dim]
    attended = attended.unflatten(0, (-1, query.shape[1])).permute(0, 3, 1, 2, 4)
    return attended.flatten(3).flatten(0, 1).contiguous()


def work(level: Level, size: int) -> tuple[int, int]:
    """The least bytes moved, with numbers of `size` bytes, and the FLOP of the two products."""
    numbers = BRANCHES * FRAMES * level.tokens * level.channels
    return 4 * numbers * size, 4 * numbers * FRAMES


def cases() -> Iterator[Case]:
    for level in LEVELS:
        for dtype in (torch.float16, torch.float32):
            shape = BRANCHES * FRAMES, level.tokens, level.channels
            arguments = (*(torch.randn(shape, device="cuda", dtype=dtype) for _ in range(3)), FRAMES, level.heads)
            yield Case(
                f"{BRANCHES}x{FRAMES}x{level.tokens}x{level.channels}",
                dtype,
                *work(level, dtype.itemsize),
                {
                    "triton": lambda a=arguments: temporal_attention(*a),
                    "pytorch": lambda a=arguments: in_pytorch(*a),
                },
            )


if __name__ == "__main__":
    sys.exit(run("temporal_attention", cases))
