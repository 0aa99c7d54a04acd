"""Stable Video Diffusion's spatio-temporal UNet with StableAnimator's ID attention (docs/model.md, section 3.4)."""

from collections.abc import Iterator, Sequence

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.checkpoint.architecture import UNetConfig
from sa.export.networks.layers import GroupNorm, TimestepEmbedding, Upsample, sinusoid
from sa.export.networks.resnet import SpatioTemporalResBlock
from sa.export.networks.transformer import BlockInputs, SpatioTemporalTransformer


class Downsample(nn.Layer):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2D(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(x)


class Level(nn.Layer):
    """One resolution, going down or up: residual blocks, a transformer after each if `attention`, then a resampler."""

    def __init__(
        self,
        widths: list[tuple[int, int]],
        eps: float,
        time_dim: int,
        attention: tuple[int, int] | None,
        resampler: tuple[str, nn.Layer] | None,
    ):
        """widths: (in, out) of each resnet; attention: (heads, context width); resampler: (attribute, layer)."""
        super().__init__()
        self.resnets = nn.LayerList([SpatioTemporalResBlock(i, o, eps, time_dim=time_dim) for i, o in widths])
        self.attends = attention is not None
        if attention is not None:
            self.attentions = nn.LayerList([SpatioTemporalTransformer(o, *attention) for _, o in widths])
        self.resamples = resampler is not None
        if resampler is not None:
            setattr(self, resampler[0], nn.LayerList([resampler[1]]))

    def step(self, i: int, x: paddle.Tensor, inputs: BlockInputs) -> paddle.Tensor:
        x = self.resnets[i](x, inputs.time, inputs.frames)
        return self.attentions[i](x, inputs) if self.attends else x


class MidBlock(nn.Layer):
    def __init__(self, width: int, time_dim: int, heads: int, context_dim: int):
        super().__init__()
        self.resnets = nn.LayerList([SpatioTemporalResBlock(width, width, 1e-5, time_dim=time_dim) for _ in range(2)])
        self.attentions = nn.LayerList([SpatioTemporalTransformer(width, heads, context_dim)])

    def forward(self, x: paddle.Tensor, inputs: BlockInputs) -> paddle.Tensor:
        x = self.attentions[0](self.resnets[0](x, inputs.time, inputs.frames), inputs)
        return self.resnets[1](x, inputs.time, inputs.frames)


class UNet(nn.Layer):
    def __init__(self, config: UNetConfig):
        super().__init__()
        widths, heads, layers = config.block_out_channels, config.num_attention_heads, config.layers_per_block
        first, last = widths[0], widths[-1]
        time_dim, context_dim = 4 * first, config.cross_attention_dim
        self.first_width = first
        self.added_time_dim = config.addition_time_embed_dim
        self.conv_in = nn.Conv2D(config.in_channels, first, 3, padding=1)
        self.time_embedding = TimestepEmbedding(first, time_dim, time_dim)
        self.add_embedding = TimestepEmbedding(config.projection_class_embeddings_input_dim, time_dim, time_dim)

        self.down_blocks = nn.LayerList()
        skips = [first]
        before = first
        for i, (width, kind) in enumerate(zip(widths, config.down_block_types, strict=True)):
            attends = kind.startswith("CrossAttn")
            is_last = i == len(widths) - 1
            self.down_blocks.append(
                Level(
                    [(before if j == 0 else width, width) for j in range(layers)],
                    1e-6 if attends else 1e-5,
                    time_dim,
                    (heads[i], context_dim) if attends else None,
                    None if is_last else ("downsamplers", Downsample(width)),
                )
            )
            skips += [width] * (layers if is_last else layers + 1)
            before = width

        self.mid_block = MidBlock(last, time_dim, heads[-1], context_dim)

        self.up_blocks = nn.LayerList()
        for i, (width, kind) in enumerate(zip(reversed(widths), config.up_block_types, strict=True)):
            attends = kind.startswith("CrossAttn")
            inputs = [(before if j == 0 else width) + skips.pop() for j in range(layers + 1)]
            self.up_blocks.append(
                Level(
                    [(channels, width) for channels in inputs],
                    1e-6,
                    time_dim,
                    (heads[-1 - i], context_dim) if attends else None,
                    None if i == len(widths) - 1 else ("upsamplers", Upsample(width)),
                )
            )
            before = width

        self.conv_norm_out = GroupNorm(first, 1e-5)
        self.conv_out = nn.Conv2D(first, config.out_channels, 3, padding=1)

    def forward(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor,
        added_time_ids: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        pose_latents: paddle.Tensor,
    ) -> paddle.Tensor:
        """The velocities of B clips, [B, T, 4, h, w]. Inputs as `embed` takes them."""
        return self.denoise(*self.embed(sample, timestep, added_time_ids, encoder_hidden_states, pose_latents))

    def embed(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor,
        added_time_ids: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        pose_latents: paddle.Tensor,
    ) -> tuple[paddle.Tensor, BlockInputs]:
        """The features [B T, C0, h, w] of B clips, and what all blocks share: a tile of T frames in B branches.

        sample [B, T, 8, h, w]: scaled latents and image latents; timestep [1] = 0.25 ln sigma; added_time_ids [1, 3];
        encoder_hidden_states [B, 1 + 4, X]; pose_latents [B, T, C0, h, w]. The unconditional branch has zeros for
        image latents, tokens and poses.
        """
        frames, channels, height, width = sample.shape[1:]
        features = self.conv_in(sample.reshape([-1, channels, height, width]))
        features = features + pose_latents.reshape([-1, self.first_width, height, width])
        time = F.silu(self.time_features(timestep, added_time_ids))
        return features, BlockInputs(frames, time, encoder_hidden_states)

    def time_features(self, timestep: paddle.Tensor, added_time_ids: paddle.Tensor) -> paddle.Tensor:
        """The time embedding [1, E]: of noise level, frame rate, motion and noise augmentation."""
        added = sinusoid(added_time_ids.reshape([3]), self.added_time_dim).reshape([1, 3 * self.added_time_dim])
        return self.time_embedding(sinusoid(timestep, self.first_width)) + self.add_embedding(added)

    def denoise(self, x: paddle.Tensor, inputs: BlockInputs) -> paddle.Tensor:
        """Everything after conv_in: x [B T, C0, h, w] -> velocities [B, T, 4, h, w]."""
        skips = list(self.down(x, inputs))
        return self.velocities(self.up(self.mid_block(skips[-1], inputs), skips, inputs, self.up_layers), inputs)

    def down(self, x: paddle.Tensor, inputs: BlockInputs) -> Iterator[paddle.Tensor]:
        """What the layers on the way down pass on to those on the way up, computed when it is asked for; x first."""
        yield x
        for level in self.down_blocks:
            for i in range(len(level.resnets)):
                x = level.step(i, x, inputs)
                yield x
            if level.resamples:
                x = level.downsamplers[0](x)
                yield x

    @property
    def up_layers(self) -> list[tuple[Level, int]]:
        """The layers on the way up: a residual block with its transformer, and a level's last with its upsampler."""
        return [(level, i) for level in self.up_blocks for i in range(len(level.resnets))]

    def up(
        self, x: paddle.Tensor, skips: list[paddle.Tensor], inputs: BlockInputs, layers: Sequence[tuple[Level, int]]
    ) -> paddle.Tensor:
        """x through these of the `up_layers`, each of which takes the last of the skips away."""
        for level, i in layers:
            x = level.step(i, paddle.concat([x, skips.pop()], axis=1), inputs)
            if level.resamples and i == len(level.resnets) - 1:
                x = level.upsamplers[0](x)
        return x

    def velocities(self, x: paddle.Tensor, inputs: BlockInputs) -> paddle.Tensor:
        """What the last layer up gives, [B T, C0, h, w] -> [B, T, 4, h, w]."""
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return x.reshape([-1, inputs.frames, *x.shape[1:]])
