"""ppdiffusers' spatio-temporal UNet with StableAnimator's ID attention and pose input: PaddleMIX as it is.

ppdiffusers 0.29 carries exactly one token to its temporal layers, the image token. It orders the rows of that token
as [height * width, branches], beside hidden states in the order [branches, height * width]: `TemporalAttention` puts
them right.
"""

import paddle
from paddle import nn
from ppdiffusers import UNetSpatioTemporalConditionModel
from ppdiffusers.models.attention import BasicTransformerBlock, TemporalBasicTransformerBlock
from ppdiffusers.models.attention_processor import Attention, AttnProcessor

from sa.benchmarks.fixtures.layout import FACE_TOKENS


class Call:
    """What the attention processors know of the call they are in, which ppdiffusers' forward does not pass on."""

    branches: int
    face: paddle.Tensor  # the face tokens of every frame, [B * T, 4, X]


def attend(attn: Attention, query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor) -> paddle.Tensor:
    """ppdiffusers' own attention: query [B, N, C], key and value [B, M, C] -> [B, N, C]."""
    query, key, value = (attn.head_to_batch_dim(x) for x in (query, key, value))
    return attn.batch_to_head_dim(paddle.matmul(attn.get_attention_scores(query, key), value))


def moments(x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Mean and standard deviation over the last two axes. Paddle's float32 sums of so many values lose two digits."""
    wide = x.astype("float64")
    return tuple(f(axis=[1, 2], keepdim=True).astype(x.dtype) for f in (wide.mean, wide.std))


class IDAttention(nn.Layer):
    """Processor of a spatial attn2: attention to the image token plus attention to the face tokens.

    The latter is first shifted and scaled, frame by frame, to the mean and standard deviation of the former.
    """

    def __init__(self, dim: int, context_dim: int, call: Call):
        super().__init__()
        self.id_to_k = nn.Linear(context_dim, dim, bias_attr=False)
        self.id_to_v = nn.Linear(context_dim, dim, bias_attr=False)
        self._call = call

    def forward(
        self, attn: Attention, hidden_states: paddle.Tensor, encoder_hidden_states: paddle.Tensor, **_: object
    ) -> paddle.Tensor:
        """hidden_states [B * T, N, C] (normed), encoder_hidden_states [B * T, 1, X] -> [B * T, N, C]."""
        image, face, query = encoder_hidden_states, self._call.face, attn.to_q(hidden_states)
        base = attend(attn, query, attn.to_k(image), attn.to_v(image))
        identity = attend(attn, query, self.id_to_k(face), self.id_to_v(face))
        (base_mean, base_std), (mean, std) = moments(base), moments(identity)
        aligned = (identity - mean) * (base_std / (std + 1e-5)) + base_mean
        return attn.to_out[0](base + aligned)


class TemporalAttention(AttnProcessor):
    """Processor of a temporal attn2, which sees the image token alone."""

    def __init__(self, call: Call):
        self._call = call

    def __call__(
        self, attn: Attention, hidden_states: paddle.Tensor, encoder_hidden_states: paddle.Tensor, **_: object
    ) -> paddle.Tensor:
        """hidden_states [B * N, T, C]; encoder_hidden_states [N * B, 1, X], in another order -> [B * N, T, C]."""
        rows = encoder_hidden_states.unflatten(0, [-1, self._call.branches]).transpose([1, 0, 2, 3]).flatten(0, 1)
        return super().__call__(attn, hidden_states, rows)


class PosedConv(nn.Conv2D):
    """conv_in: convolves the first channels of its input and adds the others, the pose latents, to the result."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        sample, pose = x.split(self.weight.shape[1::-1], axis=1)
        return super().forward(sample) + pose


class UNet(UNetSpatioTemporalConditionModel):
    """ppdiffusers' forward takes no pose latents, so they travel as further channels of the sample up to conv_in."""

    def forward(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor,
        added_time_ids: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        pose_latents: paddle.Tensor,
    ) -> paddle.Tensor:
        """The velocities [B, T, 4, h, w] of one tile in B branches.

        sample [B, T, 8, h, w], timestep [1] = 0.25 ln sigma, added_time_ids [1, 3], encoder_hidden_states [B, 5, X],
        pose_latents [B, T, C0, h, w] (zeros for the unconditional branch).
        """
        branches, frames = sample.shape[:2]
        image, face = encoder_hidden_states[:, :-FACE_TOKENS], encoder_hidden_states[:, -FACE_TOKENS:]
        self.call.branches, self.call.face = branches, face.repeat_interleave(frames, axis=0)
        posed = paddle.concat([sample, pose_latents], axis=2)
        return super().forward(posed, timestep, image, added_time_ids.expand([branches, -1]), return_dict=False)[0]


def build(config: dict) -> UNet:
    """The UNet of a config.json. Its parameters have the names of Animation/unet.pth."""
    unet = UNet.from_config(config)
    unet.call = Call()
    width, channels = unet.conv_in.weight.shape[:2]
    unet.conv_in = PosedConv(channels, width, 3, padding=1)
    for block in unet.sublayers():
        if isinstance(block, BasicTransformerBlock):
            context, dim = block.attn2.to_k.weight.shape
            block.attn2.set_processor(IDAttention(dim, context, unet.call))
        elif isinstance(block, TemporalBasicTransformerBlock):
            block.attn2.set_processor(TemporalAttention(unet.call))
    return unet
