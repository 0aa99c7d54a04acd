"""The definition, in NumPy: attention to the image token and to four face tokens, the second scaled to the first.

With a single image token its attention is a constant. With four face tokens the queries and both projections fold into
two narrow matrices, and the mean and spread that scale the attention follow from the probabilities alone. All that
`fold` returns is made once per video.
"""

from dataclasses import dataclass

import numpy as np

from sa.kernels.shapes import FACE_TOKENS

EPS = 1e-5  # of LayerNorm, and beside the deviation


@dataclass(frozen=True)
class Folded:
    """One attention layer as the kernel takes it; 4h columns or rows, face token by face token within each head."""

    keys: np.ndarray  # [branches, C, 4h]
    values: np.ndarray  # [branches, 4h, C]
    moments: (
        np.ndarray
    )  # [branches, 4h, 4h + 1]: products of the centred values, by head; their sums in the last column
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
    """y [F, N, C] of x [F, N, C], the residual included; norm_weight, norm_bias [C], the rest as in Folded.

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
    """The layer's matrices for N `tokens` per frame, and two branches: unconditional, conditional.

    query, out [C, C] and out_bias [C] are the layer's weights, output features first; image_value [C] is the image
    token's projected value, face_keys and face_values [h, 4, d] are the face tokens' projected keys and values.
    """
    heads, _, width = face_keys.shape
    channels = heads * width
    columns = heads * FACE_TOKENS
    keys = np.einsum("hdc,hjd->chj", query.reshape(heads, width, channels), face_keys) * width**-0.5

    # A row of probabilities sums to 1, so the values' mean moves the attention's mean and nothing else: it cancels.
    centred = face_values - face_values.mean()
    per_head = np.einsum("hid,hjd->hij", centred, centred)
    moments = np.zeros((columns, columns + 1), per_head.dtype)
    for head in range(heads):
        rows = slice(head * FACE_TOKENS, (head + 1) * FACE_TOKENS)
        moments[rows, rows] = per_head[head]
    moments[:, columns] = centred.sum(-1).reshape(columns)

    # What all tokens of a frame share: the attention to the image token.
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
    """Beside the unconditional branch's, which has no gain and is not attended."""
    return np.stack([np.zeros_like(matrix), matrix])
