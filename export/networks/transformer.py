"""The UNet's transformers: self-attention, ID attention and feed-forward per frame, then the same over time."""

from dataclasses import dataclass

import paddle
from paddle import nn

from sa.export.networks.layers import Attention, FeedForward, GroupNorm, TimeMixer, TimestepEmbedding, attend, sinusoid

FACE_TOKENS = 4


@dataclass(frozen=True)
class BlockInputs:
    """The inputs that all blocks of the UNet share, beside the features of B clips."""

    frames: int  # T, of each clip
    time: paddle.Tensor  # [1, E], SiLU of the time embedding
    tokens: paddle.Tensor  # [B, 1 + 4, X]: the image token, then the face tokens


class IDProjections(nn.Layer):
    """The projections of face tokens to keys and values, which the checkpoint stores under `processor`."""

    def __init__(self, dim: int, context_dim: int):
        super().__init__()
        self.id_to_k = nn.Linear(context_dim, dim, bias_attr=False)
        self.id_to_v = nn.Linear(context_dim, dim, bias_attr=False)


class IDAttention(Attention):
    """StableAnimator's distribution-aware ID adapter (docs/model.md, section 3.4).

    In each frame, the attention to the face tokens gets the mean and standard deviation of the attention to the image
    token. The identity then enters without changing the distribution of the features.
    """

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__(dim, heads, context_dim)
        self.processor = IDProjections(dim, context_dim)

    def forward(self, x: paddle.Tensor, inputs: BlockInputs) -> paddle.Tensor:
        """x [B T, N, C], after its LayerNorm -> the same shape."""
        image, face = inputs.tokens[:, :-FACE_TOKENS], inputs.tokens[:, -FACE_TOKENS:]
        tokens, channels = x.shape[1], x.shape[2]
        query = self.to_q(x).reshape([-1, inputs.frames * tokens, channels])
        base = attend(query, self.to_k(image), self.to_v(image), self.heads)
        identity = attend(query, self.processor.id_to_k(face), self.processor.id_to_v(face), self.heads)
        base, identity = (part.reshape([-1, tokens, channels]) for part in (base, identity))
        base_mean, base_std = _mean_and_std(base)
        mean, std = _mean_and_std(identity)
        aligned = (identity - mean) * (base_std / (std + 1e-5)) + base_mean
        return self.to_out[0](base + aligned)


def _mean_and_std(x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Mean and unbiased standard deviation of each frame: x [F, N, C] -> [F, 1, 1] each."""
    mean = _sum(x) / float(x.shape[1] * x.shape[2])
    centred = x - mean
    return mean, paddle.sqrt(_sum(centred * centred) / float(x.shape[1] * x.shape[2] - 1))


def _sum(x: paddle.Tensor) -> paddle.Tensor:
    """[F, N, C] -> [F, 1, 1]. One axis at a time: a plain float32 sum of 10^6 numbers loses four digits."""
    return x.sum(axis=2, keepdim=True).sum(axis=1, keepdim=True)


class SpatialBlock(nn.Layer):
    """Within each frame: self-attention, ID attention, feed-forward. x [B T, N, C]."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = IDAttention(dim, heads, context_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: paddle.Tensor, inputs: BlockInputs) -> paddle.Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), inputs)
        return x + self.ff(self.norm3(x))


class ImageAttention(Attention):
    """Cross-attention of the temporal block, to the image token alone.

    The published code cuts off the four face tokens (docs/model.md, section 3.4).
    """

    def forward(self, x: paddle.Tensor, inputs: BlockInputs) -> paddle.Tensor:
        """x [B, N T, C], after its LayerNorm -> the same shape."""
        return super().forward(x, inputs.tokens[:, :-FACE_TOKENS])


class TemporalBlock(nn.Layer):
    """Across frames, for each pixel: feed-forward, self-attention, image token, feed-forward. x [B, T, N, C]."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm_in = nn.LayerNorm(dim)
        self.ff_in = FeedForward(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = TemporalSelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = ImageAttention(dim, heads, context_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: paddle.Tensor, inputs: BlockInputs) -> paddle.Tensor:
        frames, tokens, channels = x.shape[1:]
        x = x.transpose([0, 2, 1, 3]).reshape([-1, frames, channels])
        x = x + self.ff_in(self.norm_in(x))
        x = x + self.attn1(self.norm1(x))
        x = x.reshape([-1, tokens * frames, channels])
        x = x + self.attn2(self.norm2(x), inputs)
        x = x + self.ff(self.norm3(x))
        return x.reshape([-1, tokens, frames, channels]).transpose([0, 2, 1, 3])


class TemporalSelfAttention(Attention):
    """Self-attention over the T frames, for all pixels at once: T is small, so the scores are too."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.to_out[0](attend(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class PositionEmbedding(TimestepEmbedding):
    """The embedding of each frame's index in the clip, for the temporal block: [T, C]."""

    def forward(self, inputs: BlockInputs) -> paddle.Tensor:
        return self.embed(inputs.frames)

    def embed(self, frames: int) -> paddle.Tensor:
        position = paddle.arange(frames, dtype=self.linear_1.weight.dtype)
        return super().forward(sinusoid(position, self.linear_1.weight.shape[0]))


class SpatioTemporalTransformer(nn.Layer):
    """GroupNorm, Linear, spatial block, temporal block with position, mix, Linear, residual. x [B T, C, H, W]."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm = GroupNorm(dim, 1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.transformer_blocks = nn.LayerList([SpatialBlock(dim, heads, context_dim)])
        self.temporal_transformer_blocks = nn.LayerList([TemporalBlock(dim, heads, context_dim)])
        self.time_pos_embed = PositionEmbedding(dim, 4 * dim, dim)
        self.time_mixer = TimeMixer()
        self.proj_out = nn.Linear(dim, dim)

    def forward(self, x: paddle.Tensor, inputs: BlockInputs) -> paddle.Tensor:
        channels, height, width = x.shape[1:]
        tokens = self.norm(x).transpose([0, 2, 3, 1]).reshape([-1, height * width, channels])
        spatial = self.transformer_blocks[0](self.proj_in(tokens), inputs)
        clips = spatial.reshape([-1, inputs.frames, height * width, channels])
        temporal = self.temporal_transformer_blocks[0](clips + self.time_pos_embed(inputs).unsqueeze(1), inputs)
        tokens = self.proj_out(self.time_mixer(clips, temporal))
        return x + tokens.reshape([-1, height, width, channels]).transpose([0, 3, 1, 2])
