"""Attention over frames without transposes: a program reads one head of one pixel from all frames of a clip.

In [frames, pixels, channels], a head is a row of d = 64 numbers in each frame, or 128 bytes in fp16. These are whole
memory transactions, so a copy to [pixels, frames, channels] would gain nothing and move all data twice more. Scores
stay in the program. Programs that run at the same time read neighbouring memory: heads first, then pixels.

Queries, keys and values are read once, and the result is written once. Computed for fp16 and both branches of guidance,
16 frames at 512x512; not run on a GPU:

    C      N      MB moved   GFLOP   FLOP/byte   floor at 1000 GB/s   2039 GB/s (A100)   3350 GB/s (H100)
    320    4096      335.5    2.68         8.0               336 us             165 us             100 us
    640    1024      167.8    1.34         8.0               168 us              82 us              50 us
    1280    256       83.9    0.67         8.0                84 us              41 us              25 us
    1280     64       21.0    0.17         8.0                21 us              10 us               6 us

The arithmetic intensity is frames / 2 FLOP/byte at any width. Tensor cores become the limit at 150 to 300.
"""

import torch
import triton
import triton.language as tl

from sa.kernels import shapes
from sa.kernels.variant import Variant, element_of


@triton.jit
def temporal_attention_kernel(
    query,  # [clips * frames, pixels, channels], as are key, value and attended
    key,
    value,
    frames,
    pixels,
    channels,
    attended,  # out
    head_dim: tl.constexpr,
    head_dim_padded: tl.constexpr,
    frames_padded: tl.constexpr,
):
    """Grid [heads of all pixels, clips]."""
    first_channel = tl.program_id(0).to(tl.int64) * head_dim  # in a frame of [pixels * channels] numbers
    first_frame = tl.program_id(1) * frames
    rows = tl.arange(0, frames_padded)
    lanes = tl.arange(0, head_dim_padded)
    within_frames = rows < frames
    within = within_frames[:, None] & (lanes < head_dim)[None, :]
    offsets = (first_frame + rows).to(tl.int64)[:, None] * pixels * channels + first_channel + lanes[None, :]

    queries = tl.load(query + offsets, mask=within, other=0)
    keys = tl.load(key + offsets, mask=within, other=0)
    values = tl.load(value + offsets, mask=within, other=0)
    logits = tl.dot(queries, tl.trans(keys), input_precision="ieee") * (head_dim**-0.5)
    logits = tl.where(within_frames[None, :], logits, float("-inf"))
    weights = tl.exp(logits - tl.max(logits, 1, keep_dims=True))
    weights = weights / tl.sum(weights, 1, keep_dims=True)
    result = tl.dot(weights.to(values.dtype), values, input_precision="ieee")
    tl.store(attended + offsets, result.to(attended.dtype.element_ty), mask=within)


def variant(frames: int, head_dim: int, element: str) -> Variant:
    """The kernel for clips of this many frames, up to the next power of two, and any number of heads and pixels."""
    frames_padded = max(16, triton.next_power_of_2(frames))  # a matrix product needs an inner size of at least 16
    head_dim_padded = max(16, triton.next_power_of_2(head_dim))
    return Variant(
        name=f"temporal_attention_t{frames_padded}_d{head_dim}_{element}",
        function=temporal_attention_kernel,
        parameters={
            **dict.fromkeys(("query", "key", "value"), f"*{element}"),
            **dict.fromkeys(("frames", "pixels", "channels"), "i32"),
            "attended": f"*{element}",
        },
        constants={"head_dim": head_dim, "head_dim_padded": head_dim_padded, "frames_padded": frames_padded},
        warps=frames_padded**2 // 128,  # with fewer warps, registers spill on some architectures
        multiples_of_16=("channels",),
    )


VARIANTS = tuple(variant(frames, shapes.HEAD_DIM, element) for frames in (16, 32) for element in shapes.ELEMENTS)


def temporal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, clip_frames: int, heads: int
) -> torch.Tensor:
    """As reference.temporal_attention: [clips * clip_frames, pixels, channels], float16 or float32 -> the same shape.

    For 2 to 32 frames and up to 128 channels per head. Sums are computed in float32.
    """
    frames, pixels, channels = query.shape
    attended = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    chosen = variant(clip_frames, channels // heads, element_of(query))
    grid = (pixels * heads, frames // clip_frames)
    chosen.launch(grid, query, key, value, clip_frames, pixels, channels, attended)
    return attended
