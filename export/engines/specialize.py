"""The UNet specialized to StableAnimator's inference: what cannot change between calls leaves its graph (SPEC 12).

`specialize` takes the UNet apart into three networks that share its parameters:

    conditioning     once per video and branch: what the UNet makes of image latents, tokens and frame positions
    time_embedding   once per step: what it makes of the noise level
    unet             once per tile and step: the rest

Every rewrite is exact; a test holds each against the plain layer in float64. Parameters that none of the three reads
are dead and reach no engine: queries and keys of attention to a single token, and the norm before it.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.networks.specialized import FoldedIDAttention, ImageVector, Positions, Prepared, Row, Stretch
from sa.export.networks.transformer import FACE_TOKENS, IDAttention, ImageAttention, SpatioTemporalTransformer
from sa.export.networks.unet import UNet
from sa.runtime.backends.composed.specialized_unet import LATENTS


def fold_image_attention(attention: ImageAttention, tokens: paddle.Tensor) -> paddle.Tensor:
    """The vector [B, C] that attention to the image token gives every feature. tokens [B, 1 + 4, X].

    A softmax over one key is 1, so the result is W_o W_v t + b_o whatever the query. For the unconditional branch,
    whose tokens are zero, this is b_o.
    """
    return attention.to_out[0](attention.to_v(tokens[:, 0]))


def fold_id_attention(attention: IDAttention, tokens: paddle.Tensor) -> paddle.Tensor:
    """An ID attention folded to what its tokens leave open, [B, K] (`FoldedIDAttention`). tokens [B, 1 + 4, X].

    With x a normed feature of N, h a head of width d, j a face token, k and v its key and value, W_q, W_o the
    projections, and P the softmax over j of the logits:

        logits    x . keys_hj,  keys_hj = W_q,h^T k_hj / sqrt(d)
        shares    P_hj; the identity is sum_j P_hj v_hj for each head

    The adapter moves the identity to mean and deviation of the attention to the image token. That attention is one
    vector v for all features (see `fold_image_attention`), so its mean mu_b is the mean of v, and its deviation
    sd_b = sqrt(N sum_c (v_c - mu_b)^2 / (N C - 1)). It does not see a shift of all values, so they are taken
    relative to their mean: Vc = V - mean(V), which spares the sums below a cancellation. Then, over N C numbers,

        S1        sum of the identity = sum_n P_n . r,  r_hj = sum_d Vc_hjd
        S2        sum of its squares = sum_n P_n G P_n^T,  G block-diagonal with Vc_h Vc_h^T
        mu, sd    S1 / (N C),  sqrt((S2 - S1 mu) / (N C - 1))
        result    W_o (v + (identity - mu) sd_b / (sd + 1e-5) + mu_b) + b_o
                  = base + sd_b / (sd + 1e-5) (P values - mu shift)
        base      W_o v + b_o + mu_b W_o 1;  values_hj = W_o,h Vc_hj;  shift = W_o 1

    N is the features' own, so sd_b / sqrt(N / (N C - 1)) is stored, as `gain`. With tokens of zero, values and gain
    are zero and base is b_o: the unconditional branch takes the same way and gets its bias.
    """
    heads, dim = attention.heads, attention.to_q.weight.shape[1]
    width = dim // heads
    image, face = tokens[:, 0], tokens[:, -FACE_TOKENS:]
    w_q = attention.to_q.weight.reshape([dim, heads, width]).transpose([1, 0, 2])  # [heads, C, d]
    w_o = attention.to_out[0].weight.reshape([heads, width, dim])

    def by_head(value: paddle.Tensor) -> paddle.Tensor:
        """[B, 4, C] -> [B, heads, 4, d]."""
        return value.reshape([-1, FACE_TOKENS, heads, width]).transpose([0, 2, 1, 3])

    key = by_head(attention.processor.id_to_k(face)) * width**-0.5
    keys = paddle.matmul(w_q.unsqueeze(0), key, transpose_y=True)  # [B, heads, C, 4]
    value = by_head(attention.processor.id_to_v(face))
    value = value - value.mean(axis=[1, 2, 3], keepdim=True)
    values = paddle.matmul(value, w_o.unsqueeze(0))  # [B, heads, 4, C]
    own = paddle.eye(heads, dtype=value.dtype).reshape([1, heads, 1, heads, 1])
    gram = paddle.matmul(value, value, transpose_y=True).unsqueeze(3) * own  # [B, heads, 4, heads, 4]
    count = heads * FACE_TOKENS
    moments = paddle.concat([gram.reshape([-1, count, count]), value.sum(axis=-1).reshape([-1, count, 1])], axis=-1)

    v = attention.to_v(image)  # [B, C]
    mean = v.mean(axis=-1, keepdim=True)
    shift = attention.to_out[0].weight.sum(axis=0, keepdim=True)
    base = attention.to_out[0](v) + mean * shift
    gain = paddle.sqrt(((v - mean) * (v - mean)).sum(axis=-1, keepdim=True))
    parts = keys.transpose([0, 2, 1, 3]), values, moments, base, shift.expand_as(base), gain
    return paddle.concat([part.reshape([-1, math.prod(part.shape[1:])]) for part in parts], axis=-1)


def convolve_image(conv_in: nn.Conv2D, image_latents: paddle.Tensor) -> paddle.Tensor:
    """conv_in's share of the image latents, and its bias: [T, 4, h, w] -> [T, C0, h, w].

    A convolution is linear: over [latents, image latents] it is the sum of one over each, with its own half of the
    weights. This half changes once per video, and so does the bias.
    """
    return F.conv2d(image_latents, conv_in.weight[:, LATENTS:], conv_in.bias, padding=1)


def convolve_latents(conv_in: nn.Conv2D, latents: paddle.Tensor) -> paddle.Tensor:
    """conv_in's share of the noisy latents: [B T, 4, h, w] -> [B T, C0, h, w]. See `convolve_image`."""
    return F.conv2d(latents, conv_in.weight[:, :LATENTS], padding=1)


class Packing:
    """What many layers make of the same thing, packed along the last axis: one tensor for all of them."""

    def __init__(self):
        self.size = 0
        self.makers: list[Callable] = []

    def add(self, size: int, maker: Callable) -> Stretch:
        """Room for what `maker` gives, [*, size]."""
        self.makers.append(maker)
        self.size += size
        return Stretch(self.size - size, self.size)

    def make(self, given: object) -> paddle.Tensor:
        return paddle.concat([maker(given) for maker in self.makers], axis=-1)


class Conditioning(nn.Layer):
    """image_latents [T, 4, h, w], encoder_hidden_states [1, 1 + 4, X] -> image_features, constants, positions."""

    def __init__(self, unet: UNet, constants: Packing, positions: Packing):
        super().__init__()
        self.conv_in = unet.conv_in
        self.constants, self.positions = constants, positions

    def forward(
        self, image_latents: paddle.Tensor, encoder_hidden_states: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Of one branch. Returns [T, C0, h, w], [1, K] and [T, P]."""
        return (
            convolve_image(self.conv_in, image_latents),
            self.constants.make(encoder_hidden_states),
            self.positions.make(image_latents.shape[0]),
        )


class TimeEmbedding(nn.Layer):
    """timestep [1], added_time_ids [1, 3] -> time_rows [1, R]: the same for both branches and all frames."""

    def __init__(self, unet: UNet, rows: Packing):
        super().__init__()
        self.unet = unet
        self.rows = rows

    def forward(self, timestep: paddle.Tensor, added_time_ids: paddle.Tensor) -> paddle.Tensor:
        return self.rows.make(F.silu(self.unet.time_features(timestep, added_time_ids)))


class SpecializedUNet(nn.Layer):
    """The UNet behind what was prepared."""

    def __init__(self, unet: UNet):
        super().__init__()
        self.unet = unet

    def forward(
        self,
        latents: paddle.Tensor,
        frame_features: paddle.Tensor,
        time_rows: paddle.Tensor,
        constants: paddle.Tensor,
        positions: paddle.Tensor,
    ) -> paddle.Tensor:
        """latents [B, T, 4, h, w], frame_features [B, T, C0, h, w]: of image and pose -> velocity [B, T, 4, h, w]."""
        frames, channels, height, width = frame_features.shape[1:]
        features = convolve_latents(self.unet.conv_in, latents.reshape([-1, LATENTS, height, width]))
        features = features + frame_features.reshape([-1, channels, height, width])
        return self.unet.denoise(features, Prepared(frames, time_rows, constants, positions))


@dataclass(frozen=True)
class Specialized:
    """The UNet in three networks, and the sizes of the packed tensors between them."""

    conditioning: Conditioning
    time_embedding: TimeEmbedding
    unet: SpecializedUNet
    rows: int
    constants: int
    positions: int


def specialize(unet: UNet) -> Specialized:
    """The plain UNet stays as it is; the three networks share its parameters."""
    rows, constants, positions = Packing(), Packing(), Packing()
    twin = _twin(unet)
    for layer in twin.sublayers():
        if hasattr(layer, "time_emb_proj"):
            projection = layer.time_emb_proj
            layer.time_emb_proj = Row(rows.add(projection.weight.shape[1], projection))
        if isinstance(layer, SpatioTemporalTransformer):
            embedding = layer.time_pos_embed
            layer.time_pos_embed = Positions(positions.add(embedding.linear_2.weight.shape[1], embedding.of))
            _without_tokens(layer.transformer_blocks[0], layer.temporal_transformer_blocks[0], constants)
    return Specialized(
        Conditioning(unet, constants, positions),
        TimeEmbedding(unet, rows),
        SpecializedUNet(twin),
        rows.size,
        constants.size,
        positions.size,
    )


def _without_tokens(spatial: nn.Layer, temporal: nn.Layer, constants: Packing) -> None:
    """Put what the tokens leave open in place of both cross-attentions of a transformer."""
    identity, image = spatial.attn2, temporal.attn2
    dim, heads = identity.to_q.weight.shape[1], identity.heads
    size = sum(math.prod(shape) for shape in FoldedIDAttention.shapes(dim, heads))
    stretch = constants.add(size, lambda tokens: fold_id_attention(identity, tokens))
    spatial.attn2 = FoldedIDAttention(dim, heads, stretch)
    stretch = constants.add(dim, lambda tokens: fold_image_attention(image, tokens))
    temporal.attn2, temporal.norm2 = ImageVector(stretch), nn.Identity()


def _twin(layer: nn.Layer) -> nn.Layer:
    """The same layers with the same parameters, but a tree of its own, in which layers can be replaced."""
    twin = copy.copy(layer)
    twin.__dict__["_sub_layers"] = type(layer._sub_layers)(
        (name, _twin(child)) for name, child in layer._sub_layers.items()
    )
    return twin
