"""python -m sa.kernels.group_norm_silu.benchmark --csv FILE: both passes against PyTorch's norm between copies."""

import sys
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from sa.kernels.benchmarking import Case, run
from sa.kernels.group_norm_silu.kernel import group_norm_silu
from sa.kernels.shapes import BRANCHES, FRAMES, GROUPS, LEVELS, Level

EPS = 1e-5
FLOP_PER_NUMBER = 15


def in_pytorch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, clip_frames: int, eps: float) -> torch.Tensor:
    """The same in PyTorch. Its norm needs the frames next to the pixels, so two copies are made."""
    clips = x.unflatten(0, (-1, clip_frames)).transpose(1, 2)
    normed = F.group_norm(clips, GROUPS, weight.to(x.dtype), bias.to(x.dtype), eps)
    return F.silu(normed).transpose(1, 2).flatten(0, 1).contiguous()


def work(level: Level, size: int) -> tuple[int, int]:
    """The bytes that two passes move, with numbers of `size` bytes, and the FLOP."""
    numbers = BRANCHES * FRAMES * level.tokens * level.channels
    return 3 * numbers * size, FLOP_PER_NUMBER * numbers


def cases() -> Iterator[Case]:
    for level in LEVELS:
        for dtype in (torch.float16, torch.float32):
            for clip_frames in (1, FRAMES):
                shape = BRANCHES * FRAMES, level.channels, level.tokens
                weight, bias = torch.randn((2, level.channels), device="cuda")
                arguments = torch.randn(shape, device="cuda", dtype=dtype), weight, bias, clip_frames, EPS
                yield Case(
                    f"{BRANCHES * FRAMES // clip_frames}x{clip_frames}x{level.channels}x{level.tokens}",
                    dtype,
                    *work(level, dtype.itemsize),
                    {
                        "triton": lambda a=arguments: group_norm_silu(*a),
                        "pytorch": lambda a=arguments: in_pytorch(*a),
                    },
                )


if __name__ == "__main__":
    sys.exit(run("group_norm_silu", cases))
