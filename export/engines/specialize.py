"""The UNet specialized to inference: what does not change between its calls is computed in networks of its own.

`specialize` splits the UNet into three networks that share its parameters:

    conditioning     runs once per video and branch: all that depends on image latents, tokens and frame positions
    time_embedding   runs once per step: all that depends on the noise level
    unet             runs once per tile and step: the rest

Every rewrite is exact (docs/model.md, section 12); a test compares each with the plain layer in float64. None of the
three networks reads the queries and keys of attention to a single token, nor the norm before it: no engine holds them.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.networks.specialized import (
    CachedImageAttention,
    CachedInputs,
    CachedPositionEmbedding,
    CachedTimeProjection,
    FoldedIDAttention,
    PackedSlice,
)
from sa.export.networks.transformer import FACE_TOKENS, IDAttention, ImageAttention, SpatioTemporalTransformer
from sa.export.networks.unet import UNet
from sa.runtime.backends.composed.specialized_unet import LATENTS


def fold_image_attention(attention: ImageAttention, tokens: paddle.Tensor) -> paddle.Tensor:
    """The vector [B, C] that attention to the image token adds to every feature. tokens [B, 1 + 4, X].

    A softmax over one key is 1, so the result is W_o W_v t + b_o for any query. In the unconditional branch the tokens
    are zero and the result is b_o.
    """
    return attention.to_out[0](attention.to_v(tokens[:, 0]))


def fold_id_attention(attention: IDAttention, tokens: paddle.Tensor) -> paddle.Tensor:
    """The tensors that a `FoldedIDAttention` needs of an ID attention and its tokens, packed into [B, K].

    tokens [B, 1 + 4, X]. Let x be one of N features after the LayerNorm, h a head of width d, j a face token, k and v
    its key and value, W_q and W_o the projections, and P the softmax of the logits over j:

        logits          x . keys_hj,  keys_hj = W_q,h^T k_hj / sqrt(d)
        probabilities   P_hj; the identity is sum_j P_hj v_hj for each head

    The adapter gives the identity the mean and standard deviation of the attention to the image token. That attention
    is one vector v for all features (see `fold_image_attention`), so its mean mu_b is the mean of v, and its standard
    deviation is sd_b = sqrt(N sum_c (v_c - mu_b)^2 / (N C - 1)). A shift of all values changes nothing in the result.
    We subtract their mean, Vc = V - mean(V), to avoid cancellation in the sums below. Then, over N C numbers,

        S1        sum of the identity = sum_n P_n . r,  r_hj = sum_d Vc_hjd
        S2        sum of its squares = sum_n P_n G P_n^T,  G block-diagonal with Vc_h Vc_h^T
        mu, sd    S1 / (N C),  sqrt((S2 - S1 mu) / (N C - 1))
        result    W_o (v + (identity - mu) sd_b / (sd + 1e-5) + mu_b) + b_o
                  = base + sd_b / (sd + 1e-5) (P values - mu shift)
        base      W_o v + b_o + mu_b W_o 1;  values_hj = W_o,h Vc_hj;  shift = W_o 1

    N is known only when the layer runs, so `gain` stores sd_b / sqrt(N / (N C - 1)). With zero tokens, values and gain
    are zero and base is b_o, so the same layer serves the unconditional branch.
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
    """The part of conv_in that depends on the image latents, with its bias: [T, 4, h, w] -> [T, C0, h, w].

    A convolution is linear: over [latents, image latents] it is the sum of two convolutions, each with half of the
    weights. This one is the same in all steps of a video.
    """
    return F.conv2d(image_latents, conv_in.weight[:, LATENTS:], conv_in.bias, padding=1)


def convolve_latents(conv_in: nn.Conv2D, latents: paddle.Tensor) -> paddle.Tensor:
    """The part of conv_in for the noisy latents (see `convolve_image`): [T, 4, h, w] -> [T, C0, h, w]."""
    return F.conv2d(latents, conv_in.weight[:, :LATENTS], padding=1)


class PackedTensor:
    """The results of many layers on one input, concatenated along the last axis."""

    def __init__(self):
        self.size = 0
        self.layers: list[Callable] = []

    def add(self, size: int, layer: Callable) -> PackedSlice:
        """Append the result of `layer`, [*, size]; returns where it will lie."""
        self.layers.append(layer)
        self.size += size
        return PackedSlice(self.size - size, self.size)

    def compute(self, value: object) -> paddle.Tensor:
        """[*, self.size], from the input of all the layers."""
        return paddle.concat([layer(value) for layer in self.layers], axis=-1)


class ConditioningNetwork(nn.Layer):
    """All that the UNet computes from one branch's image latents, tokens and frame positions."""

    def __init__(self, unet: UNet, constants: PackedTensor, positions: PackedTensor):
        super().__init__()
        self.conv_in = unet.conv_in
        self.constants, self.positions = constants, positions

    def forward(
        self, image_latents: paddle.Tensor, encoder_hidden_states: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """image_latents [T, 4, h, w], encoder_hidden_states [1, 1 + 4, X] -> image_features, constants, positions.

        These are [T, C0, h, w], [1, K] and [T, P].
        """
        return (
            convolve_image(self.conv_in, image_latents),
            self.constants.compute(encoder_hidden_states),
            self.positions.compute(image_latents.shape[0]),
        )


class TimeEmbeddingNetwork(nn.Layer):
    """The time projections of all residual blocks, which both branches and all frames share."""

    def __init__(self, unet: UNet, rows: PackedTensor):
        super().__init__()
        self.unet = unet
        self.rows = rows

    def forward(self, timestep: paddle.Tensor, added_time_ids: paddle.Tensor) -> paddle.Tensor:
        """timestep [1], added_time_ids [1, 3] -> time_rows [1, R]."""
        return self.rows.compute(F.silu(self.unet.time_features(timestep, added_time_ids)))


class CachedUNet(nn.Layer):
    """The rest of the UNet, which takes the results of the other two networks as inputs."""

    def __init__(self, unet: UNet):
        super().__init__()
        self.unet = unet

    def forward(
        self,
        latents: paddle.Tensor,
        pose_latents: paddle.Tensor,
        time_rows: paddle.Tensor,
        image_features: paddle.Tensor,
        posed: paddle.Tensor,
        constants: paddle.Tensor,
        positions: paddle.Tensor,
    ) -> paddle.Tensor:
        """Inputs as `embed` takes them -> velocity [B, T, 4, h, w]."""
        return self.unet.denoise(
            *self.embed(latents, pose_latents, time_rows, image_features, posed, constants, positions)
        )

    def embed(
        self,
        latents: paddle.Tensor,
        pose_latents: paddle.Tensor,
        time_rows: paddle.Tensor,
        image_features: paddle.Tensor,
        posed: paddle.Tensor,
        constants: paddle.Tensor,
        positions: paddle.Tensor,
    ) -> tuple[paddle.Tensor, CachedInputs]:
        """The features [B T, C0, h, w] of a tile, and what all blocks share.

        latents [1, T, 4, h, w] and pose_latents [1, T, C0, h, w] of the tile;
        time_rows [1, R]; image_features [B, 1, C0, h, w] of every frame; posed [B, 1, 1, 1, 1], 1 for the branch that
        sees the poses and 0 for the other; constants [B, K]; positions [T, P].
        """
        frames, channels, height, width = pose_latents.shape[1:]
        features = convolve_latents(self.unet.conv_in, latents.reshape([-1, LATENTS, height, width])).unsqueeze(0)
        features = features + (pose_latents * posed + image_features)
        features = features.reshape([-1, channels, height, width])
        return features, CachedInputs(frames, time_rows, constants, positions)


@dataclass(frozen=True)
class SpecializedNetworks:
    """The UNet as three networks, and the sizes of the packed tensors that they exchange."""

    conditioning: ConditioningNetwork
    time_embedding: TimeEmbeddingNetwork
    unet: CachedUNet
    rows: int
    constants: int
    positions: int


def specialize(unet: UNet) -> SpecializedNetworks:
    """Three networks that share the parameters of `unet`, which is left unchanged."""
    rows, constants, positions = PackedTensor(), PackedTensor(), PackedTensor()
    cached = _copy_sharing_parameters(unet)
    for layer in cached.sublayers():
        if hasattr(layer, "time_emb_proj"):
            projection = layer.time_emb_proj
            layer.time_emb_proj = CachedTimeProjection(rows.add(projection.weight.shape[1], projection))
        if isinstance(layer, SpatioTemporalTransformer):
            embedding = layer.time_pos_embed
            size = embedding.linear_2.weight.shape[1]
            layer.time_pos_embed = CachedPositionEmbedding(positions.add(size, embedding.embed))
            _replace_cross_attentions(layer.transformer_blocks[0], layer.temporal_transformer_blocks[0], constants)
    return SpecializedNetworks(
        ConditioningNetwork(unet, constants, positions),
        TimeEmbeddingNetwork(unet, rows),
        CachedUNet(cached),
        rows.size,
        constants.size,
        positions.size,
    )


def _replace_cross_attentions(spatial: nn.Layer, temporal: nn.Layer, constants: PackedTensor) -> None:
    """Replace both cross-attentions of a transformer by layers that read `constants` instead of tokens."""
    identity, image = spatial.attn2, temporal.attn2
    dim, heads = identity.to_q.weight.shape[1], identity.heads
    size = sum(math.prod(shape) for shape in FoldedIDAttention.shapes(dim, heads))
    folded = constants.add(size, lambda tokens: fold_id_attention(identity, tokens))
    spatial.attn2 = FoldedIDAttention(dim, heads, folded)
    vector = constants.add(dim, lambda tokens: fold_image_attention(image, tokens))
    temporal.attn2, temporal.norm2 = CachedImageAttention(vector), nn.Identity()


def _copy_sharing_parameters(layer: nn.Layer) -> nn.Layer:
    """A copy with the same parameters, in which sublayers can be replaced without changing the original."""
    copied = copy.copy(layer)
    copied.__dict__["_sub_layers"] = type(layer._sub_layers)(
        (name, _copy_sharing_parameters(child)) for name, child in layer._sub_layers.items()
    )
    return copied
