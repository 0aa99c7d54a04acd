"""The UNet's transformers: self-attention, ID attention and feed-forward per frame, then the same over time."""

import paddle
from paddle import nn

from sa.export.networks.layers import Attention, FeedForward, GroupNorm, TimeMixer, TimestepEmbedding, attend, sinusoid

FACE_TOKENS = 4


class IDProjections(nn.Layer):
    """Keys and values of the face tokens; in the checkpoint these belong to the attention's `processor`."""

    def __init__(self, dim: int, context_dim: int):
        super().__init__()
        self.id_to_k = nn.Linear(context_dim, dim, bias_attr=False)
        self.id_to_v = nn.Linear(context_dim, dim, bias_attr=False)


class IDAttention(Attention):
    """The distribution-aware ID adapter (SPEC section 3.4).

    Attention to the face tokens is shifted and scaled, frame by frame, to the mean and standard deviation of the
    attention to the image token, so that the identity enters without moving the features' distribution.
    """

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__(dim, heads, context_dim)
        self.processor = IDProjections(dim, context_dim)

    def forward(self, x: paddle.Tensor, context: paddle.Tensor) -> paddle.Tensor:
        """x [T, N, C] (normed); context [1, 1 + 4, X], the image token first -> [T, N, C]."""
        image, face = context[:, :-FACE_TOKENS], context[:, -FACE_TOKENS:]
        query = self.to_q(x)
        base = attend(query, self.to_k(image), self.to_v(image), self.heads)
        identity = attend(query, self.processor.id_to_k(face), self.processor.id_to_v(face), self.heads)
        base_mean, base_std = _mean_and_std(base)
        mean, std = _mean_and_std(identity)
        aligned = (identity - mean) * (base_std / (std + 1e-5)) + base_mean
        return self.to_out[0](base + aligned)


def _mean_and_std(x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Mean and unbiased standard deviation of each frame: x [T, N, C] -> two [T, 1, 1]."""
    mean = _sum(x) / float(x.shape[1] * x.shape[2])
    centred = x - mean
    return mean, paddle.sqrt(_sum(centred * centred) / float(x.shape[1] * x.shape[2] - 1))


def _sum(x: paddle.Tensor) -> paddle.Tensor:
    """[T, N, C] -> [T, 1, 1], one axis at a time: float32 loses four digits over 10^6 numbers in a row."""
    return x.sum(axis=2, keepdim=True).sum(axis=1, keepdim=True)


class SpatialBlock(nn.Layer):
    """Within each frame: self-attention, ID attention, feed-forward. x [T, N, C]."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = IDAttention(dim, heads, context_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: paddle.Tensor, context: paddle.Tensor) -> paddle.Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class TemporalBlock(nn.Layer):
    """Across frames, for each pixel: feed-forward, self-attention, image token, feed-forward. x [T, N, C]."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm_in = nn.LayerNorm(dim)
        self.ff_in = FeedForward(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = TemporalSelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, heads, context_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: paddle.Tensor, context: paddle.Tensor) -> paddle.Tensor:
        x = x.transpose([1, 0, 2])
        x = x + self.ff_in(self.norm_in(x))
        x = x + self.attn1(self.norm1(x))
        # Time sees the image token alone: upstream cuts the four face tokens off (SPEC section 3.4).
        x = x + self.attn2(self.norm2(x), context[:, :-FACE_TOKENS])
        x = x + self.ff(self.norm3(x))
        return x.transpose([1, 0, 2])


class TemporalSelfAttention(Attention):
    """Self-attention over the T frames of all pixels at once: T is small, so no scores need to be spared."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.to_out[0](attend(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class SpatioTemporalTransformer(nn.Layer):
    """GroupNorm, Linear in, spatial block, temporal block with position, mix, Linear out, residual. x [T, C, H, W]."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm = GroupNorm(dim, 1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.transformer_blocks = nn.LayerList([SpatialBlock(dim, heads, context_dim)])
        self.temporal_transformer_blocks = nn.LayerList([TemporalBlock(dim, heads, context_dim)])
        self.time_pos_embed = TimestepEmbedding(dim, 4 * dim, dim)
        self.time_mixer = TimeMixer()
        self.proj_out = nn.Linear(dim, dim)

    def forward(self, x: paddle.Tensor, context: paddle.Tensor) -> paddle.Tensor:
        frames, channels, height, width = x.shape
        tokens = self.norm(x).transpose([0, 2, 3, 1]).reshape([frames, height * width, channels])
        tokens = self.proj_in(tokens)
        position = self.time_pos_embed(sinusoid(paddle.arange(frames, dtype=x.dtype), channels)).unsqueeze(1)
        spatial = self.transformer_blocks[0](tokens, context)
        temporal = self.temporal_transformer_blocks[0](spatial + position, context)
        tokens = self.proj_out(self.time_mixer(spatial, temporal))
        return x + tokens.reshape([frames, height, width, channels]).transpose([0, 3, 1, 2])
