"""The parallel variance of Chan, Golub and LeVeque (1983): merges the statistics of two parts of the data.

A part has a count, a mean and m2, the sum of squared deviations from its mean; its variance is m2 / count. There is no
cancellation, however far the mean is from zero.
"""

import triton
import triton.language as tl


@triton.jit
def merge(count, mean, m2, other_count, other_mean, other_m2):
    """Count, mean and m2 of two parts together. The other part must not be empty."""
    total = count + other_count
    fraction = other_count / total
    difference = other_mean - mean
    m2 += other_m2 + difference * difference * count * fraction
    return total, mean + difference * fraction, m2


@triton.jit
def merge_block(count, mean, m2, block, within, block_count, axis: tl.constexpr):
    """Merge a part with a block's `within` numbers; the others must be 0. Along an axis, or over all for None."""
    keep_dims: tl.constexpr = axis is not None
    block_mean = tl.sum(block, axis, keep_dims) / block_count
    centred = tl.where(within, block - block_mean, 0)
    return merge(count, mean, m2, block_count, block_mean, tl.sum(centred * centred, axis, keep_dims))
