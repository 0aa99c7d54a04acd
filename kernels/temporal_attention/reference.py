"""The definition in NumPy: attention over the frames of a clip, for each pixel and head alone."""

import numpy as np


def temporal_attention(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, clip_frames: int, heads: int
) -> np.ndarray:
    """softmax(q k^T / sqrt(d)) v over frames: [clips * clip_frames, pixels, heads * d] -> the same shape."""
    query, key, value = (
        packed.reshape(-1, clip_frames, packed.shape[1], heads, packed.shape[2] // heads)
        for packed in (query, key, value)
    )
    logits = np.einsum("bsnhd,btnhd->bnhst", query, key) * query.shape[-1] ** -0.5
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    attended = np.einsum("bnhst,btnhd->bsnhd", weights, value)
    return attended.reshape(-1, query.shape[2], heads * query.shape[-1])
