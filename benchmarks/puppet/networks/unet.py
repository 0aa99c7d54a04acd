"""The spatio-temporal UNet with ID attention and pose input (docs/model.md, section 3.4)."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from sa.benchmarks.fixtures.layout import FACE_TOKENS
from sa.benchmarks.puppet.networks.layers import (
    GROUPS,
    Attention,
    FeedForward,
    SpatioTemporalResBlock,
    TimeMixer,
    TimestepEmbedding,
    Upsample,
    attend,
    sinusoid,
)


@dataclass(frozen=True)
class Inputs:
    """What all blocks share, beside the features [B T, C, h, w] of B clips of T frames."""

    time: torch.Tensor  # [B, E], SiLU of the time embedding
    tokens: torch.Tensor  # [B, 1 + 4, X]: the image token, then the face tokens
    frames: int | None  # T; None leaves the temporal layers out, and every frame is a picture of its own


class IDProjections(nn.Module):
    """What makes keys and values of the face tokens; the checkpoint stores them under `processor`."""

    def __init__(self, dim: int, context_dim: int):
        super().__init__()
        self.id_to_k = nn.Linear(context_dim, dim, bias=False)
        self.id_to_v = nn.Linear(context_dim, dim, bias=False)


class IDAttention(Attention):
    """Attention to the image token, plus attention to the face tokens with the mean and deviation of the former."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__(dim, heads, context_dim)
        self.processor = IDProjections(dim, context_dim)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """x [B T, N, C], tokens [B T, 1 + 4, X] -> like x."""
        image, face = tokens[:, :-FACE_TOKENS], tokens[:, -FACE_TOKENS:]
        query = self.to_q(x)
        # In float32, whatever the products are in: a standard deviation is divided by.
        base = attend(query, self.to_k(image), self.to_v(image), self.heads).float()
        identity = attend(query, self.processor.id_to_k(face), self.processor.id_to_v(face), self.heads).float()
        base_std, base_mean = torch.std_mean(base, dim=(1, 2), keepdim=True)
        std, mean = torch.std_mean(identity, dim=(1, 2), keepdim=True)
        return self.to_out[0](base + (identity - mean) * (base_std / (std + 1e-5)) + base_mean)


class SpatialBlock(nn.Module):
    """Within each frame: self-attention, ID attention, feed-forward. x [B T, N, C]."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = IDAttention(dim, heads, context_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), tokens)
        return x + self.ff(self.norm3(x))


class TemporalBlock(nn.Module):
    """Over time, for each pixel: feed-forward, self-attention, image token, feed-forward. x [B, T, N, C]."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm_in = nn.LayerNorm(dim)
        self.ff_in = FeedForward(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, heads, context_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """image [B, 1, X]: the image token."""
        clips, frames, pixels, _ = x.shape
        x = x.transpose(1, 2).flatten(0, 1)  # [B N, T, C]
        x = x + self.ff_in(self.norm_in(x))
        x = x + self.attn1(self.norm1(x))
        x = x.unflatten(0, (clips, pixels)).flatten(1, 2)  # [B, N T, C]
        x = x + self.attn2(self.norm2(x), image)
        x = x + self.ff(self.norm3(x))
        return x.unflatten(1, (pixels, frames)).transpose(1, 2)


class Transformer(nn.Module):
    """A spatial block, a temporal block that knows the frame's number, and their mix. x [B T, C, H, W]."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, dim, 1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(dim, heads, context_dim)])
        self.temporal_transformer_blocks = nn.ModuleList([TemporalBlock(dim, heads, context_dim)])
        self.time_pos_embed = TimestepEmbedding(dim, 4 * dim, dim)
        self.time_mixer = TimeMixer()
        self.proj_out = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, inputs: Inputs) -> torch.Tensor:
        height, width = x.shape[2:]
        each = inputs.tokens.repeat_interleave(len(x) // len(inputs.tokens), 0)
        tokens = self.transformer_blocks[0](self.proj_in(self.norm(x).flatten(2).transpose(1, 2)), each)
        if inputs.frames is not None:
            tokens = self._over_time(tokens.unflatten(0, (-1, inputs.frames)), inputs).flatten(0, 1)
        return x + self.proj_out(tokens).transpose(1, 2).unflatten(2, (height, width))

    def _over_time(self, clips: torch.Tensor, inputs: Inputs) -> torch.Tensor:
        """[B, T, N, C] -> the mix of the spatial and the temporal result."""
        number = torch.arange(clips.shape[1], device=clips.device, dtype=torch.float32)
        position = self.time_pos_embed(sinusoid(number, clips.shape[3]))
        image = inputs.tokens[:, :-FACE_TOKENS]
        temporal = self.temporal_transformer_blocks[0](clips + position[:, None], image)
        return clips + self.time_mixer.temporal_weight() * (temporal - clips)


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Level(nn.Module):
    """One resolution: residual blocks, a transformer after each if `attention`, then a resampler."""

    def __init__(
        self,
        widths: list[tuple[int, int]],
        eps: float,
        time_dim: int,
        attention: tuple[int, int] | None,
        resampler: tuple[str, nn.Module] | None = None,
    ):
        """widths: (in, out) of each block; attention: heads and the context's width; resampler: attribute and layer."""
        super().__init__()
        self.resnets = nn.ModuleList(SpatioTemporalResBlock(i, o, eps, time_dim=time_dim) for i, o in widths)
        if attention is not None:
            self.attentions = nn.ModuleList(Transformer(o, *attention) for _, o in widths)
        if resampler is not None:
            setattr(self, resampler[0], nn.ModuleList([resampler[1]]))

    def layer(self, i: int, x: torch.Tensor, inputs: Inputs) -> torch.Tensor:
        x = self.resnets[i](x, inputs.frames, inputs.time)
        return self.attentions[i](x, inputs) if hasattr(self, "attentions") else x


class Middle(nn.Module):
    def __init__(self, width: int, time_dim: int, attention: tuple[int, int]):
        super().__init__()
        self.resnets = nn.ModuleList(SpatioTemporalResBlock(width, width, 1e-5, time_dim=time_dim) for _ in range(2))
        self.attentions = nn.ModuleList([Transformer(width, *attention)])

    def forward(self, x: torch.Tensor, inputs: Inputs) -> torch.Tensor:
        x = self.attentions[0](self.resnets[0](x, inputs.frames, inputs.time), inputs)
        return self.resnets[1](x, inputs.frames, inputs.time)


class UNet(nn.Module):
    """The UNet of a config.json."""

    def __init__(self, config: dict):
        super().__init__()
        widths, layers, context = (
            config["block_out_channels"],
            config["layers_per_block"],
            config["cross_attention_dim"],
        )
        heads = config["num_attention_heads"]
        first, time_dim = widths[0], 4 * widths[0]
        self.added_dim = config["addition_time_embed_dim"]
        self.conv_in = nn.Conv2d(config["in_channels"], first, 3, padding=1)
        self.time_embedding = TimestepEmbedding(first, time_dim, time_dim)
        self.add_embedding = TimestepEmbedding(config["projection_class_embeddings_input_dim"], time_dim, time_dim)

        def attention(kind: str, level: int) -> tuple[int, int] | None:
            return (heads[level], context) if kind.startswith("CrossAttn") else None

        self.down_blocks = nn.ModuleList()
        skips, before = [first], first
        for level, (width, kind) in enumerate(zip(widths, config["down_block_types"], strict=True)):
            ends, attends = level == len(widths) - 1, attention(kind, level)
            sizes = [(before if i == 0 else width, width) for i in range(layers)]
            down = None if ends else ("downsamplers", Downsample(width))
            self.down_blocks.append(Level(sizes, 1e-6 if attends else 1e-5, time_dim, attends, down))
            skips += [width] * (layers + (not ends))
            before = width
        self.mid_block = Middle(before, time_dim, (heads[-1], context))
        self.up_blocks = nn.ModuleList()
        for level, kind in zip(reversed(range(len(widths))), config["up_block_types"], strict=True):
            width = widths[level]
            sizes = [((before if i == 0 else width) + skips.pop(), width) for i in range(layers + 1)]
            up = ("upsamplers", Upsample(width)) if level else None
            self.up_blocks.append(Level(sizes, 1e-6, time_dim, attention(kind, level), up))
            before = width
        self.conv_norm_out = nn.GroupNorm(GROUPS, first, 1e-5)
        self.conv_out = nn.Conv2d(first, config["out_channels"], 3, padding=1)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        added_time_ids: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        pose_latents: torch.Tensor,
        over_time: bool = True,
    ) -> torch.Tensor:
        """The velocities [B, T, 4, h, w] of B clips.

        sample [B, T, 8, h, w], timestep [B] = 0.25 ln sigma, added_time_ids [1, 3], encoder_hidden_states [B, 5, X],
        pose_latents [B, T, C0, h, w]. Unless `over_time`, the temporal layers are left out.
        """
        clips, frames = sample.shape[:2]
        added = self.add_embedding(sinusoid(added_time_ids[0], self.added_dim).flatten()[None])
        time = F.silu(self.time_embedding(sinusoid(timestep, self.conv_in.out_channels)) + added)
        inputs = Inputs(time, encoder_hidden_states, frames if over_time else None)
        x = self.conv_in(sample.flatten(0, 1)) + pose_latents.flatten(0, 1)
        skips = [x]
        for level in self.down_blocks:
            for i in range(len(level.resnets)):
                x = level.layer(i, x, inputs)
                skips.append(x)
            if hasattr(level, "downsamplers"):
                x = level.downsamplers[0](x)
                skips.append(x)
        x = self.mid_block(x, inputs)
        for level in self.up_blocks:
            for i in range(len(level.resnets)):
                x = level.layer(i, torch.cat([x, skips.pop()], dim=1), inputs)
            if hasattr(level, "upsamplers"):
                x = level.upsamplers[0](x)
        return self.conv_out(F.silu(self.conv_norm_out(x))).unflatten(0, (clips, frames))
