"""The definition in NumPy: attention to the image token, plus attention to four face tokens scaled to its statistics.

Attention to a single image token is constant. With only four face tokens, the query and both projections fold into two
narrow matrices, and mean and standard deviation of the attention follow from the probabilities. The results of `fold`
are the same for a whole video. docs/model.md, section 12, has the formulas.
"""

from dataclasses import dataclass

import numpy as np

from sa.kernels.shapes import FACE_TOKENS

EPS = 1e-5  # of LayerNorm; also added to the standard deviation


@dataclass(frozen=True)
class Folded:
    """The kernel's inputs for one attention layer. The 4h columns or rows are ordered by head, then by face token."""

    keys: np.ndarray  # [branches, C, 4h]
    values: np.ndarray  # [branches, 4h, C]
    # [branches, 4h, 4h + 1]: products of the centred values of each head; the last column has their sums
    moments: np.ndarray
    shift: np.ndarray  # [branches, C]
    base: np.ndarray  # [branches, C]
    gain: np.ndarray  # [branches]


def id_attention(
    x: np.ndarray,
    norm_weight: np.ndarray,
    norm_bias: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    moments: np.ndarray,
    shift: np.ndarray,
    base: np.ndarray,
    gain: np.ndarray,
) -> np.ndarray:
    """x [F, N, C] -> y [F, N, C], with the residual; norm_weight, norm_bias [C]; the other inputs as in Folded.

    Frame f belongs to branch f // (F / branches). A branch whose gain is 0 gets x + base.
    """
    frames, tokens, channels = x.shape
    columns = keys.shape[2]
    branch = np.arange(frames) // (frames // len(gain))

    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + EPS)
    logits = (centred / deviation * norm_weight + norm_bias) @ keys[branch]
    logits = logits.reshape(frames, tokens, -1, FACE_TOKENS)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = (weights / weights.sum(-1, keepdims=True)).reshape(frames, tokens, columns)

    numbers = tokens * channels
    moments = moments[branch]
    first = (probabilities @ moments[..., columns:]).sum((1, 2))
    second = ((probabilities @ moments[..., :columns]) * probabilities).sum((1, 2))
    mean = first / numbers
    deviation = np.sqrt(np.maximum(second - first * mean, 0) / (numbers - 1))
    scale = gain[branch] / (deviation + EPS)
    attended = probabilities @ values[branch] - (mean[:, None] * shift[branch])[:, None]
    return x + base[branch][:, None] + scale[:, None, None] * attended


def fold(
    query: np.ndarray,
    image_value: np.ndarray,
    face_keys: np.ndarray,
    face_values: np.ndarray,
    out: np.ndarray,
    out_bias: np.ndarray,
    tokens: int,
) -> Folded:
    """The folded layer for N `tokens` per frame and two branches: unconditional, conditional.

    query, out [C, C] (output features first) and out_bias [C] are the layer's weights; image_value [C] is the projected
    value of the image token; face_keys and face_values [h, 4, d] are the projected keys and values of the face tokens.
    """
    heads, _, width = face_keys.shape
    channels = heads * width
    columns = heads * FACE_TOKENS
    keys = np.einsum("hdc,hjd->chj", query.reshape(heads, width, channels), face_keys) * width**-0.5

    # Probabilities sum to 1, so the mean of the values only shifts the mean of the attention, which is subtracted.
    centred = face_values - face_values.mean()
    per_head = np.einsum("hid,hjd->hij", centred, centred)
    moments = np.zeros((columns, columns + 1), per_head.dtype)
    for head in range(heads):
        rows = slice(head * FACE_TOKENS, (head + 1) * FACE_TOKENS)
        moments[rows, rows] = per_head[head]
    moments[:, columns] = centred.sum(-1).reshape(columns)

    # The attention to the image token, the same for all tokens of a frame.
    mean = image_value.mean()
    deviation = np.sqrt(tokens * ((image_value - mean) ** 2).sum() / (tokens * channels - 1))
    values = np.einsum("hjd,chd->hjc", centred, out.reshape(channels, heads, width)) * deviation
    total = out.sum(1)
    return Folded(
        keys=_conditional(keys.reshape(channels, columns)),
        values=_conditional(values.reshape(columns, channels)),
        moments=_conditional(moments),
        shift=_conditional(total * deviation),
        base=np.stack([out_bias, out @ image_value + out_bias + mean * total]),
        gain=np.array([0, 1], values.dtype),
    )


def _conditional(matrix: np.ndarray) -> np.ndarray:
    """The matrix of the conditional branch, after zeros for the unconditional one, which is not attended."""
    return np.stack([np.zeros_like(matrix), matrix])
