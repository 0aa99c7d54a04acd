"""FusionFaceId makes four face tokens of an identity embedding and the image token (docs/model.md, section 3.2)."""

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.networks.layers import attend
from sa.export.networks.transformer import FACE_TOKENS

IDENTITY_DIM = 512
HEAD_DIM = 64
DEPTH = 4


class PerceiverAttention(nn.Layer):
    """The face tokens attend to the image token and to themselves. latents [1, 4, X], image [1, 1, X]."""

    def __init__(self, dim: int):
        super().__init__()
        self.heads = dim // HEAD_DIM
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, dim, bias_attr=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias_attr=False)
        self.to_out = nn.Linear(dim, dim, bias_attr=False)

    def forward(self, image: paddle.Tensor, latents: paddle.Tensor) -> paddle.Tensor:
        latents = self.norm2(latents)
        both = self.to_kv(paddle.concat([self.norm1(image), latents], axis=1))
        key, value = paddle.split(both, num_or_sections=2, axis=-1)
        return self.to_out(attend(self.to_q(latents), key, value, self.heads))


def _feed_forward(dim: int) -> nn.LayerList:
    return nn.LayerList(
        [
            nn.LayerNorm(dim),
            nn.Linear(dim, 4 * dim, bias_attr=False),
            nn.GELU(),
            nn.Linear(4 * dim, dim, bias_attr=False),
        ]
    )


class Fusion(nn.Layer):
    def __init__(self, dim: int):
        super().__init__()
        self.proj_in = nn.Linear(dim, dim)
        self.layers = nn.LayerList([nn.LayerList([PerceiverAttention(dim), _feed_forward(dim)]) for _ in range(DEPTH)])
        self.proj_out = nn.Linear(dim, dim)
        self.norm_out = nn.LayerNorm(dim)

    def forward(self, latents: paddle.Tensor, image: paddle.Tensor) -> paddle.Tensor:
        image = self.proj_in(image)
        for attention, feed_forward in self.layers:
            latents = latents + attention(image, latents)
            inner = F.gelu(feed_forward[1](feed_forward[0](latents)))
            latents = latents + feed_forward[3](inner)
        return self.norm_out(self.proj_out(latents))


class FusionFaceId(nn.Layer):
    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.proj = nn.LayerList(
            [nn.Linear(IDENTITY_DIM, 2 * IDENTITY_DIM), nn.GELU(), nn.Linear(2 * IDENTITY_DIM, FACE_TOKENS * dim)]
        )
        self.norm = nn.LayerNorm(dim)
        self.fusion_model = Fusion(dim)

    def forward(self, identity: paddle.Tensor, image_embeds: paddle.Tensor) -> paddle.Tensor:
        """identity [1, 512], not normalised; image_embeds [1, X] -> face tokens [1, 4, X]."""
        latents = self.proj[2](F.gelu(self.proj[0](identity))).reshape([1, FACE_TOKENS, self.dim])
        return self.fusion_model(self.norm(latents), image_embeds.unsqueeze(1))
