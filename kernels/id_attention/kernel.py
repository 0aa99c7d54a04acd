"""ID attention in two passes over x. The first computes probabilities and their statistics, the second the output.

Let X be the activations of one branch, 16 frames x N x C. The first pass reads X of the conditional branch twice, the
second time from the caches (a tile has 40 to 80 KB in fp16), and writes the probabilities, X / 16. The second pass
reads 2 X, of both branches, and the probabilities, and writes 2 X. The unconditional branch costs the first pass one
load.

Computed for fp16 and both branches of guidance, 16 frames at 512x512; not run on a GPU:

    C      N      MB moved   GFLOP   FLOP/byte   floor at 1000 GB/s   2039 GB/s (A100)   3350 GB/s (H100)
    320    4096      215.0    1.73         8.0               215 us             105 us              64 us
    640    1024      107.5    1.73        16.1               107 us              53 us              32 us
    1280    256       53.7    1.73        32.2                54 us              26 us              16 us
    1280     64       13.4    0.43        32.2                13 us               7 us               4 us

Tensor cores become the limit at 150 to 300 FLOP/byte, so here memory is. Without folding, the query and both
projections would take 27.6 GFLOP in each of the first three rows.
"""

import torch
import triton
import triton.language as tl

from sa.kernels import shapes
from sa.kernels.variance import merge_block
from sa.kernels.variant import Variant, element_of

FACE_TOKENS = tl.constexpr(shapes.FACE_TOKENS)
EPS = tl.constexpr(shapes.LAYER_NORM_EPSILON)  # also added to the standard deviation
SIZES = {"tokens": "i32", "branch_frames": "i32"}


@triton.jit
def probabilities_kernel(
    x,  # [frames, tokens, channels]
    norm_weight,  # [channels] float32
    norm_bias,  # [channels] float32
    keys,  # [branches, channels, 4 heads]
    moments,  # [branches, 4 heads, 4 heads + 1] float32
    gain,  # [branches] float32
    tokens,
    branch_frames,
    probabilities,  # out: [frames, tokens, 4 heads]
    partial_sums,  # out: [frames, tiles, 2] float32
    channels: tl.constexpr,
    heads: tl.constexpr,
    heads_padded: tl.constexpr,
    block_tokens: tl.constexpr,
    block_channels: tl.constexpr,
):
    """Grid [tiles of tokens, frames]. Frames whose gain is 0 are skipped; their results are not written."""
    tile = tl.program_id(0)
    frame = tl.program_id(1)
    branch = frame // branch_frames
    if tl.load(gain + branch) == 0:
        return
    keys += branch * channels * FACE_TOKENS * heads
    moments += branch * FACE_TOKENS * heads * (FACE_TOKENS * heads + 1)
    rows = tile * block_tokens + tl.arange(0, block_tokens)
    within_rows = (rows < tokens)[:, None]
    x += frame.to(tl.int64) * tokens * channels
    x_rows = x + rows[:, None] * channels

    count = 0.0
    mean = tl.zeros([block_tokens, 1], tl.float32)
    m2 = tl.zeros([block_tokens, 1], tl.float32)
    # num_stages is explicit, because by default Triton prefetches only in loops with a matrix product.
    for start in tl.range(0, channels, block_channels, num_stages=3):
        lanes = start + tl.arange(0, block_channels)[None, :]
        within = within_rows & (lanes < channels)
        block = tl.load(x_rows + lanes, mask=within, other=0).to(tl.float32)
        width = tl.minimum(channels - start, block_channels).to(tl.float32)
        count, mean, m2 = merge_block(count, mean, m2, block, within, width, axis=1)
    inverse_deviation = tl.rsqrt(m2 / channels + EPS)

    columns = tl.arange(0, FACE_TOKENS * heads_padded)
    within_columns = (columns < FACE_TOKENS * heads)[None, :]
    logits = tl.zeros([block_tokens, FACE_TOKENS * heads_padded], tl.float32)
    for start in range(0, channels, block_channels):
        lanes = start + tl.arange(0, block_channels)
        within = lanes < channels
        block = tl.load(x_rows + lanes[None, :], mask=within_rows & within[None, :], other=0).to(tl.float32)
        weight = tl.load(norm_weight + lanes, mask=within, other=0)
        bias = tl.load(norm_bias + lanes, mask=within, other=0)
        normed = (block - mean) * inverse_deviation * weight[None, :] + bias[None, :]
        block_keys = tl.load(
            keys + lanes[:, None] * (FACE_TOKENS * heads) + columns[None, :],
            mask=within[:, None] & within_columns,
            other=0,
        )
        logits = tl.dot(normed.to(block_keys.dtype), block_keys, logits, input_precision="ieee")

    logits = tl.reshape(logits, [block_tokens, heads_padded, FACE_TOKENS])
    weights = tl.exp(logits - tl.max(logits, 2, keep_dims=True))
    weights = weights / tl.sum(weights, 2, keep_dims=True)
    within_tile = within_rows & within_columns
    tile_probabilities = tl.reshape(weights, [block_tokens, FACE_TOKENS * heads_padded])
    # Rounded first, so that the statistics are those of the values that the second pass reads.
    tile_probabilities = tl.where(within_tile, tile_probabilities, 0).to(probabilities.dtype.element_ty)
    probabilities += (frame.to(tl.int64) * tokens + rows[:, None]) * (FACE_TOKENS * heads)
    tl.store(probabilities + columns[None, :], tile_probabilities, mask=within_tile)

    within_moments = within_columns & (columns < FACE_TOKENS * heads)[:, None]
    moments_rows = moments + columns * (FACE_TOKENS * heads + 1)
    sums = tl.load(moments_rows + FACE_TOKENS * heads, mask=columns < FACE_TOKENS * heads, other=0)
    products = tl.load(moments_rows[:, None] + columns[None, :], mask=within_moments, other=0)
    first = tl.sum(tl.sum(tile_probabilities.to(tl.float32), 0) * sums)
    second = tl.sum(tl.dot(tl.trans(tile_probabilities), tile_probabilities, input_precision="ieee") * products)
    partial_sums += (frame * tl.num_programs(0) + tile) * 2
    tl.store(partial_sums, first)
    tl.store(partial_sums + 1, second)


@triton.jit
def output_kernel(
    x,  # [frames, tokens, channels]
    probabilities,  # [frames, tokens, 4 heads]
    partial_sums,  # [frames, tiles, 2] float32
    values,  # [branches, 4 heads, channels]
    shift,  # [branches, channels] float32
    base,  # [branches, channels] float32
    gain,  # [branches] float32
    tokens,
    branch_frames,
    y,  # out: [frames, tokens, channels]
    channels: tl.constexpr,
    heads: tl.constexpr,
    heads_padded: tl.constexpr,
    block_tokens: tl.constexpr,
    block_channels: tl.constexpr,
    block_partials: tl.constexpr,
):
    """Grid [tiles of tokens, frames], with the tiles of the first pass. Frames whose gain is 0 read only x and base."""
    tile = tl.program_id(0)
    tiles = tl.num_programs(0)
    frame = tl.program_id(1)
    branch = frame // branch_frames
    strength = tl.load(gain + branch)
    attends = (strength != 0).to(tl.int32)
    values += branch * FACE_TOKENS * heads * channels

    first = 0.0
    second = 0.0
    for start in range(0, tiles * attends, block_partials):
        lanes = start + tl.arange(0, block_partials)
        partials = partial_sums + (frame * tiles + lanes) * 2
        within = lanes < tiles
        first += tl.sum(tl.load(partials, mask=within, other=0))
        second += tl.sum(tl.load(partials + 1, mask=within, other=0))
    numbers = 1.0 * tokens * channels
    mean = first / numbers
    deviation = tl.sqrt(tl.maximum(second - first * mean, 0) / (numbers - 1))
    scale = strength / (deviation + EPS)

    rows = tile * block_tokens + tl.arange(0, block_tokens)[:, None]
    columns = tl.arange(0, FACE_TOKENS * heads_padded)
    within_columns = columns < FACE_TOKENS * heads
    probabilities += (frame.to(tl.int64) * tokens + rows) * (FACE_TOKENS * heads)
    tile_probabilities = tl.load(
        probabilities + columns[None, :], mask=(rows < tokens * attends) & within_columns[None, :], other=0
    )
    offsets = (frame.to(tl.int64) * tokens + rows) * channels
    # Prefetch one block: with two, the portable code would need more shared memory than it gets without an opt-in.
    for start in tl.range(0, channels, block_channels, num_stages=2):
        lanes = start + tl.arange(0, block_channels)[None, :]
        within = lanes < channels
        block_values = tl.load(
            values + columns[:, None] * channels + lanes,
            mask=(columns < FACE_TOKENS * heads * attends)[:, None] & within,
            other=0,
        )
        block_shift = tl.load(shift + branch * channels + lanes, mask=within, other=0)
        block_base = tl.load(base + branch * channels + lanes, mask=within, other=0)
        block = tl.load(x + offsets + lanes, mask=(rows < tokens) & within, other=0).to(tl.float32)
        attended = tl.dot(tile_probabilities, block_values, input_precision="ieee") - mean * block_shift
        block = block + block_base + scale * attended
        tl.store(y + offsets + lanes, block.to(y.dtype.element_ty), mask=(rows < tokens) & within)


def variants(channels: int, heads: int, element: str) -> tuple[Variant, Variant]:
    """The two passes for one width, with activations and folded matrices of one element type."""
    activations = f"*{element}"
    size = {"fp16": 2, "fp32": 4}[element]
    tile = {
        "channels": channels,
        "heads": heads,
        "heads_padded": max(4, triton.next_power_of_2(heads)),  # a matrix product needs at least 16 columns
        "block_tokens": (128 if channels < 1280 else 64) // size,
    }
    first = Variant(
        name=f"id_attention_probabilities_c{channels}_{element}",
        function=probabilities_kernel,
        parameters={
            "x": activations,
            "norm_weight": "*fp32",
            "norm_bias": "*fp32",
            "keys": activations,
            "moments": "*fp32",
            "gain": "*fp32",
            **SIZES,
            "probabilities": activations,
            "partial_sums": "*fp32",
        },
        constants={**tile, "block_channels": 32},
        warps=8,
    )
    second = Variant(
        name=f"id_attention_output_c{channels}_{element}",
        function=output_kernel,
        parameters={
            "x": activations,
            "probabilities": activations,
            "partial_sums": "*fp32",
            "values": activations,
            "shift": "*fp32",
            "base": "*fp32",
            "gain": "*fp32",
            **SIZES,
            "y": activations,
        },
        constants={**tile, "block_channels": 128 // size, "block_partials": 64},
        warps=8,
    )
    return first, second


VARIANTS = tuple(
    variant
    for channels in shapes.WIDTHS
    for element in shapes.ELEMENTS
    for variant in variants(channels, channels // shapes.HEAD_DIM, element)
)


def id_attention(
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
    """As reference.id_attention: x [frames, tokens, channels] -> y, the same shape.

    x, keys and values are all float16 or all float32; all other inputs, statistics and sums are float32.
    """
    frames, tokens, channels = x.shape
    columns = keys.shape[2]
    first, second = variants(channels, columns // shapes.FACE_TOKENS, element_of(x))
    branch_frames = frames // len(gain)
    grid = (triton.cdiv(tokens, first.constants["block_tokens"]), frames)

    probabilities = torch.empty((frames, tokens, columns), dtype=x.dtype, device=x.device)
    partial_sums = torch.empty((frames, grid[0], 2), dtype=torch.float32, device=x.device)
    first.launch(
        grid, x, norm_weight, norm_bias, keys, moments, gain, tokens, branch_frames, probabilities, partial_sums
    )
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    second.launch(grid, x, probabilities, partial_sums, values, shift, base, gain, tokens, branch_frames, y)
    return y
