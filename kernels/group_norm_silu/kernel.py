"""GroupNorm and SiLU in two passes over x. The first computes mean and m2 of every tile, the second the result.

A group is contiguous in every frame, so no copy needs to bring the frames of a clip together. The programs of the
second pass merge the statistics of all tiles of their clip and group: 64 tiles at most, at the shapes below. Means of
groups reach 50 times the standard deviation, where E[x^2] - E[x]^2 would keep three or four digits in float32. Merging
as in variance.py has no such cancellation.

x is read twice and y written once. Computed for fp16 and both branches of guidance, 16 frames at 512x512; not run on a
GPU:

    C      N      MB moved   GFLOP   FLOP/byte   floor at 1000 GB/s   2039 GB/s (A100)   3350 GB/s (H100)
    320    4096      251.7    0.63         2.5               252 us             123 us              75 us
    640    1024      125.8    0.31         2.5               126 us              62 us              38 us
    1280    256       62.9    0.16         2.5                63 us              31 us              19 us
    1280     64       15.7    0.04         2.5                16 us               8 us               5 us

That counts 15 FLOP per number, none of them on tensor cores. At 2.5 FLOP/byte, memory is the limit on every card. Where
x fits into the card's L2 cache (in the last two rows it has 21 MB and less), the second read can come from there.
"""

import torch
import triton
import triton.language as tl

from sa.kernels import shapes
from sa.kernels.variance import merge, merge_block
from sa.kernels.variant import Variant, element_of

GROUPS = tl.constexpr(shapes.GROUPS)
BLOCKS_OF_PIXELS = (64, 256, 1024)  # larger frames take several blocks of the largest size
SIZES = {"frames": "i32", "channels": "i32", "pixels": "i32"}


@triton.jit
def statistics_kernel(
    x,  # [clips * frames, channels, pixels]
    frames,
    channels,
    pixels,
    partials,  # out: [clips, groups, frames, tiles, 2] float32, mean and m2
    block_pixels: tl.constexpr,
    block_channels: tl.constexpr,
):
    """Grid [tiles of pixels, groups, clips * frames]."""
    tile = tl.program_id(0)
    tiles = tl.num_programs(0)
    group = tl.program_id(1)
    frame = tl.program_id(2)
    width = channels // GROUPS
    columns = tile * block_pixels + tl.arange(0, block_pixels)[None, :]
    count_pixels = tl.minimum(pixels - tile * block_pixels, block_pixels)
    x += (frame.to(tl.int64) * channels + group * width) * pixels

    count = 0.0
    mean = 0.0
    m2 = 0.0
    # num_stages is explicit, because by default Triton prefetches only in loops with a matrix product.
    for start in tl.range(0, width, block_channels, num_stages=3):
        rows = start + tl.arange(0, block_channels)[:, None]
        within = (rows < width) & (columns < pixels)
        block = tl.load(x + rows * pixels + columns, mask=within, other=0).to(tl.float32)
        block_count = (tl.minimum(width - start, block_channels) * count_pixels).to(tl.float32)
        count, mean, m2 = merge_block(count, mean, m2, block, within, block_count, axis=None)

    clip = frame // frames
    partials += (((clip * GROUPS + group) * frames + frame % frames) * tiles + tile) * 2
    tl.store(partials, mean)
    tl.store(partials + 1, m2)


@triton.jit
def normalize_kernel(
    x,  # [clips * frames, channels, pixels]
    partials,  # [clips, groups, frames, tiles, 2] float32
    weight,  # [channels] float32
    bias,  # [channels] float32
    frames,
    channels,
    pixels,
    y,  # out: [clips * frames, channels, pixels]
    eps: tl.constexpr,
    block_pixels: tl.constexpr,
    block_channels: tl.constexpr,
    block_partials: tl.constexpr,
):
    """Grid [tiles of pixels, groups, clips * frames], with the tiles of the first pass."""
    tile = tl.program_id(0)
    tiles = tl.num_programs(0)
    group = tl.program_id(1)
    frame = tl.program_id(2)
    width = channels // GROUPS

    count = 0.0
    mean = 0.0
    m2 = 0.0
    partials += (frame // frames * GROUPS + group) * frames * tiles * 2
    for start in range(0, frames * tiles, block_partials):
        lanes = start + tl.arange(0, block_partials)
        within = lanes < frames * tiles
        means = tl.load(partials + lanes * 2, mask=within, other=0)
        m2s = tl.load(partials + lanes * 2 + 1, mask=within, other=0)
        counts = tl.minimum(pixels - lanes % tiles * block_pixels, block_pixels) * width
        counts = tl.where(within, counts, 0).to(tl.float32)
        block_count = tl.sum(counts)
        block_mean = tl.sum(counts * means) / block_count
        centred = means - block_mean
        block_m2 = tl.sum(m2s + counts * centred * centred)
        count, mean, m2 = merge(count, mean, m2, block_count, block_mean, block_m2)
    inverse_deviation = tl.rsqrt(m2 / count + eps)

    columns = tile * block_pixels + tl.arange(0, block_pixels)[None, :]
    offset = (frame.to(tl.int64) * channels + group * width) * pixels
    for start in tl.range(0, width, block_channels, num_stages=3):
        rows = start + tl.arange(0, block_channels)[:, None]
        within = (rows < width) & (columns < pixels)
        block = tl.load(x + offset + rows * pixels + columns, mask=within, other=0).to(tl.float32)
        channel_weight = tl.load(weight + group * width + rows, mask=rows < width, other=0)
        channel_bias = tl.load(bias + group * width + rows, mask=rows < width, other=0)
        normed = (block - mean) * inverse_deviation * channel_weight + channel_bias
        result = normed * tl.sigmoid(normed)
        tl.store(y + offset + rows * pixels + columns, result.to(y.dtype.element_ty), mask=within)


def statistics_variant(pixels: int, element: str) -> Variant:
    """The first pass, for frames of about this many pixels and any number of channels."""
    tile = tile_of(pixels)
    return Variant(
        name=f"group_norm_statistics_m{tile['block_pixels']}_{element}",
        function=statistics_kernel,
        parameters={"x": f"*{element}", **SIZES, "partials": "*fp32"},
        constants=tile,
        warps=4,
        multiples_of_16=("pixels",),
    )


def normalize_variant(pixels: int, eps: float, element: str) -> Variant:
    """The second pass, with the tiles of the first."""
    tile = tile_of(pixels)
    return Variant(
        name=f"group_norm_silu_m{tile['block_pixels']}_eps{eps:.0e}_{element}",
        function=normalize_kernel,
        parameters={
            "x": f"*{element}",
            **dict.fromkeys(("partials", "weight", "bias"), "*fp32"),
            **SIZES,
            "y": f"*{element}",
        },
        constants={"eps": eps, **tile, "block_partials": 32},
        warps=4,
        multiples_of_16=("pixels",),
    )


def tile_of(pixels: int) -> dict[str, int]:
    """The block of 2048 numbers that a program holds at once: few pixels of many channels if frames are small."""
    block_pixels = next((block for block in BLOCKS_OF_PIXELS if pixels <= block), BLOCKS_OF_PIXELS[-1])
    return {"block_pixels": block_pixels, "block_channels": 2048 // block_pixels}


VARIANTS = tuple(
    variant
    for pixels in BLOCKS_OF_PIXELS
    for element in shapes.ELEMENTS
    for variant in (
        statistics_variant(pixels, element),
        *(normalize_variant(pixels, eps, element) for eps in shapes.EPSILONS),
    )
)


def group_norm_silu(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, clip_frames: int, eps: float
) -> torch.Tensor:
    """As reference.group_norm_silu: x [clips * clip_frames, channels, pixels], float16 or float32 -> y, the same shape.

    weight, bias [channels] float32. Statistics are computed in float32.
    """
    frames, channels, pixels = x.shape
    first = statistics_variant(pixels, element_of(x))
    second = normalize_variant(pixels, eps, element_of(x))
    tiles = triton.cdiv(pixels, first.constants["block_pixels"])
    grid = (tiles, shapes.GROUPS, frames)

    shape = (frames // clip_frames, shapes.GROUPS, clip_frames, tiles, 2)
    partials = torch.empty(shape, dtype=torch.float32, device=x.device)
    first.launch(grid, x, clip_frames, channels, pixels, partials)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    second.launch(grid, x, partials, weight, bias, clip_frames, channels, pixels, y)
    return y
