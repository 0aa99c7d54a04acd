"""diffusers' spatio-temporal UNet with StableAnimator's ID attention and pose input (docs/model.md, section 3.4)."""

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention import BasicTransformerBlock, TemporalBasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import nn
from torch.nn import functional as F

from sa.benchmarks.fixtures.layout import FACE_TOKENS


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of `heads` heads: query [B, N, C], key and value [B, M, C] -> [B, N, C]."""
    split = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


class IDAttention(nn.Module):
    """Processor of a spatial attn2: attention to the image token plus attention to the face tokens.

    The latter is first shifted and scaled, frame by frame, to the mean and standard deviation of the former.
    """

    def __init__(self, dim: int, context_dim: int):
        super().__init__()
        self.id_to_k = nn.Linear(context_dim, dim, bias=False)
        self.id_to_v = nn.Linear(context_dim, dim, bias=False)

    def forward(
        self, attn: Attention, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: object
    ) -> torch.Tensor:
        """hidden_states [T, N, C] (normed), encoder_hidden_states [T, 1 + 4, X] -> [T, N, C]."""
        image, face = encoder_hidden_states[:, :-FACE_TOKENS], encoder_hidden_states[:, -FACE_TOKENS:]
        query = attn.to_q(hidden_states)
        base = attend(query, attn.to_k(image), attn.to_v(image), attn.heads)
        identity = attend(query, self.id_to_k(face), self.id_to_v(face), attn.heads)
        base_std, base_mean = torch.std_mean(base, dim=(1, 2), keepdim=True)
        std, mean = torch.std_mean(identity, dim=(1, 2), keepdim=True)
        aligned = (identity - mean) * (base_std / (std + 1e-5)) + base_mean
        return attn.to_out[0](base + aligned)


class ImageTokenAttention(AttnProcessor2_0):
    """Processor of a temporal attn2. It sees the image token, but not the face tokens."""

    def __call__(
        self, attn: Attention, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: object
    ) -> torch.Tensor:
        return super().__call__(attn, hidden_states, encoder_hidden_states[:, :-FACE_TOKENS])


class PosedConv(nn.Conv2d):
    """conv_in: convolves the first channels of its input and adds the others, the pose latents, to the result."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sample, pose = x.split((self.in_channels, self.out_channels), dim=1)
        return super().forward(sample) + pose


class UNet(UNetSpatioTemporalConditionModel):
    """diffusers' forward takes no pose latents, so they travel as further channels of the sample up to conv_in."""

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        added_time_ids: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        pose_latents: torch.Tensor,
    ) -> torch.Tensor:
        """The velocities [B, T, 4, h, w] of one tile in B branches.

        sample [B, T, 8, h, w], timestep [1] = 0.25 ln sigma, added_time_ids [1, 3], encoder_hidden_states [B, 5, X],
        pose_latents [B, T, C0, h, w] (zeros for the unconditional branch).
        """
        posed = torch.cat([sample, pose_latents], dim=2)
        ids = added_time_ids.expand(sample.shape[0], -1)
        return super().forward(posed, timestep, encoder_hidden_states, ids, return_dict=False)[0]


def build(config: dict) -> UNet:
    """The UNet of a config.json. Its parameters have the names of Animation/unet.pth."""
    unet = UNet.from_config(config)
    plain = unet.conv_in
    unet.conv_in = PosedConv(plain.in_channels, plain.out_channels, plain.kernel_size, padding=plain.padding)
    for block in unet.modules():
        if isinstance(block, BasicTransformerBlock):
            block.attn2.set_processor(IDAttention(block.attn2.to_q.out_features, block.attn2.to_k.in_features))
        elif isinstance(block, TemporalBasicTransformerBlock):
            block.attn2.set_processor(ImageTokenAttention())
    return unet
