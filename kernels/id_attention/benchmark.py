"""python -m sa.kernels.id_attention.benchmark --csv FILE: both passes against the same arithmetic in PyTorch."""

import sys
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from sa.kernels.benchmarking import Case, run
from sa.kernels.id_attention.kernel import id_attention
from sa.kernels.shapes import BRANCHES, FACE_TOKENS, FRAMES, LEVELS, Level

EPS = 1e-5


def in_pytorch(
    x: torch.Tensor,
    norm_weight: torch.Tensor,
    norm_bias: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    moments: torch.Tensor,
    shift: torch.Tensor,
    base: torch.Tensor,
    gain: torch.Tensor,
) -> torch.Tensor:
    """The same in PyTorch; only branches with a gain are attended."""
    result = []
    for branch, (frames, addend) in enumerate(zip(x.chunk(len(gain)), base.to(x.dtype), strict=True)):
        result.append(frames + addend)
        if not branch:  # the unconditional branch; reading the gain from the GPU would cost a round trip
            continue
        normed = F.layer_norm(frames, norm_weight.shape, norm_weight.to(x.dtype), norm_bias.to(x.dtype), EPS)
        logits = normed @ keys[branch]
        probabilities = logits.unflatten(-1, (-1, FACE_TOKENS)).softmax(-1).flatten(-2)
        rows = probabilities.float()
        first = (rows @ moments[branch, :, -1]).sum(1)
        second = ((rows @ moments[branch, :, :-1]) * rows).sum((1, 2))
        numbers = frames[0].numel()
        mean = first / numbers
        scale = gain[branch] / (((second - first * mean).clamp(min=0) / (numbers - 1)).sqrt() + EPS)
        attended = probabilities @ values[branch] - (mean[:, None] * shift[branch]).to(x.dtype)[:, None]
        result[-1] = result[-1] + scale.to(x.dtype)[:, None, None] * attended
    return torch.cat(result)


def work(level: Level, size: int) -> tuple[int, int]:
    """The least bytes that two passes move, with numbers of `size` bytes, and the FLOP of the products."""
    columns = FACE_TOKENS * level.heads
    branch = FRAMES * level.tokens * level.channels * size
    probabilities = FRAMES * level.tokens * columns * size
    moved = (1 + 2 * BRANCHES) * branch + 2 * probabilities
    return moved, 2 * FRAMES * level.tokens * columns * (2 * level.channels + columns)


def cases() -> Iterator[Case]:
    for level in LEVELS:
        for dtype in (torch.float16, torch.float32):
            columns = FACE_TOKENS * level.heads

            def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
                return torch.randn(shape, device="cuda", dtype=dtype)

            arguments = (
                random(BRANCHES * FRAMES, level.tokens, level.channels, dtype=dtype),
                random(level.channels),
                random(level.channels),
                random(BRANCHES, level.channels, columns, dtype=dtype) * level.channels**-0.5,
                random(BRANCHES, columns, level.channels, dtype=dtype),
                level.channels * torch.eye(columns, columns + 1, device="cuda").repeat(BRANCHES, 1, 1),
                random(BRANCHES, level.channels),
                random(BRANCHES, level.channels),
                torch.tensor([0.0, 1.0], device="cuda"),
            )
            yield Case(
                f"{BRANCHES}x{FRAMES}x{level.tokens}x{level.channels}",
                dtype,
                *work(level, dtype.itemsize),
                {"triton": lambda a=arguments: id_attention(*a), "pytorch": lambda a=arguments: in_pytorch(*a)},
            )


if __name__ == "__main__":
    sys.exit(run("id_attention", cases))
