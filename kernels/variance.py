"""Mean and spread put together of parts, as Chan, Golub and LeVeque do: exact however far the mean lies from zero.

The spread is the sum of squared deviations from the mean.
"""

import triton
import triton.language as tl


@triton.jit
def merge(count, mean, spread, other_count, other_mean, other_spread):
    """Count, mean and spread of two parts together, the other not empty."""
    total = count + other_count
    share = other_count / total
    difference = other_mean - mean
    spread += other_spread + difference * difference * count * share
    return total, mean + difference * share, spread


@triton.jit
def merge_block(count, mean, spread, block, within, block_count, axis: tl.constexpr):
    """Count, mean and spread with a block's `within` numbers, the others being 0; along an axis, or of all if None."""
    keep_dims: tl.constexpr = axis is not None
    block_mean = tl.sum(block, axis, keep_dims) / block_count
    centred = tl.where(within, block - block_mean, 0)
    return merge(count, mean, spread, block_count, block_mean, tl.sum(centred * centred, axis, keep_dims))
