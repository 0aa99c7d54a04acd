"""FusionFaceId: makes four face tokens from the identity and the image token (docs/model.md, section 3.2)."""

import torch
from torch import nn
from torch.nn import functional as F

from sa.benchmarks.fixtures.layout import FACE_TOKENS, IDENTITY_DIM

HEAD_DIM = 64
DEPTH = 4


class PerceiverAttention(nn.Module):
    """The face tokens [1, 4, X] attend to the image token [1, 1, X] and to themselves."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(self, image: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        latents = self.norm2(latents)
        seen = torch.cat([self.norm1(image), latents], dim=1)
        parts = self.to_q(latents), *self.to_kv(seen).chunk(2, dim=-1)
        query, key, value = (part.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2) for part in parts)
        return self.to_out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Fusion(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.proj_in = nn.Linear(dim, dim)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PerceiverAttention(dim),
                    nn.Sequential(
                        nn.LayerNorm(dim),
                        nn.Linear(dim, 4 * dim, bias=False),
                        nn.GELU(),
                        nn.Linear(4 * dim, dim, bias=False),
                    ),
                ]
            )
            for _ in range(DEPTH)
        )
        self.proj_out = nn.Linear(dim, dim)
        self.norm_out = nn.LayerNorm(dim)

    def forward(self, latents: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        image = self.proj_in(image)
        for attention, feed_forward in self.layers:
            latents = latents + attention(image, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))


class FusionFaceId(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Sequential(
            nn.Linear(IDENTITY_DIM, 2 * IDENTITY_DIM), nn.GELU(), nn.Linear(2 * IDENTITY_DIM, FACE_TOKENS * dim)
        )
        self.norm = nn.LayerNorm(dim)
        self.fusion_model = Fusion(dim)

    def forward(self, identity: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
        """identity [1, 512], not normalised; image_embeds [1, X] -> face_tokens [1, 4, X]."""
        latents = self.proj(identity).unflatten(-1, (FACE_TOKENS, -1))
        return self.fusion_model(self.norm(latents), image_embeds.unsqueeze(1))
