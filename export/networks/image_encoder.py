"""The CLIP vision tower with its projection: the image token of the reference (docs/model.md, section 2.2)."""

import paddle
from paddle import nn
from paddle.nn import functional as F

from sa.export.checkpoint.architecture import ImageEncoderConfig
from sa.export.networks.layers import attend


class Embeddings(nn.Layer):
    def __init__(self, config: ImageEncoderConfig):
        super().__init__()
        patches = (config.image_size // config.patch_size) ** 2
        self.class_embedding = self.create_parameter([config.hidden_size])
        self.patch_embedding = nn.Conv2D(
            3, config.hidden_size, config.patch_size, stride=config.patch_size, bias_attr=False
        )
        self.position_embedding = nn.Embedding(patches + 1, config.hidden_size)

    def forward(self, pixels: paddle.Tensor) -> paddle.Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose([0, 2, 1])
        tokens = paddle.concat([self.class_embedding.reshape([1, 1, -1]), patches], axis=1)
        return tokens + self.position_embedding.weight


class SelfAttention(nn.Layer):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads))


class MLP(nn.Layer):
    def __init__(self, dim: int, inner: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, inner)
        self.fc2 = nn.Linear(inner, dim)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class EncoderLayer(nn.Layer):
    def __init__(self, config: ImageEncoderConfig):
        super().__init__()
        dim, eps = config.hidden_size, config.layer_norm_eps
        self.layer_norm1 = nn.LayerNorm(dim, eps)
        self.self_attn = SelfAttention(dim, config.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(dim, eps)
        self.mlp = MLP(dim, config.intermediate_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Layer):
    def __init__(self, config: ImageEncoderConfig):
        super().__init__()
        self.layers = nn.LayerList([EncoderLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class VisionModel(nn.Layer):
    def __init__(self, config: ImageEncoderConfig):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)  # spelt so in the checkpoint
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, pixels: paddle.Tensor) -> paddle.Tensor:
        tokens = self.encoder(self.pre_layrnorm(self.embeddings(pixels)))
        return self.post_layernorm(tokens[:, 0])


class ImageEncoder(nn.Layer):
    def __init__(self, config: ImageEncoderConfig):
        super().__init__()
        self.vision_model = VisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias_attr=False)

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        """pixel_values [1, 3, S, S], normalised -> image_embeds [1, X]."""
        return self.visual_projection(self.vision_model(pixel_values))
