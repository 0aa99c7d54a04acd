"""The definition in NumPy: GroupNorm of 32 groups over all frames of a clip, then SiLU."""

import numpy as np

from sa.kernels.shapes import GROUPS


def group_norm_silu(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, clip_frames: int, eps: float) -> np.ndarray:
    """x [clips * clip_frames, channels, pixels] -> y, the same shape; weight, bias [channels].

    Mean and variance of a group are over its channels, all pixels and the frames of the clip. With clip_frames 1, every
    frame is normalized alone.
    """
    frames, channels, pixels = x.shape
    groups = x.reshape(frames // clip_frames, clip_frames, GROUPS, channels // GROUPS, pixels)
    centred = groups - groups.mean((1, 3, 4), keepdims=True)
    variance = (centred**2).mean((1, 3, 4), keepdims=True)
    normed = (centred / np.sqrt(variance + eps)).reshape(x.shape) * weight[:, None] + bias[:, None]
    return normed / (1 + np.exp(-normed))
