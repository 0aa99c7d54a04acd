"""transformers' CLIP vision tower with its projection (SPEC section 2.2)."""

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection


class ImageEncoder(CLIPVisionModelWithProjection):
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """pixel_values [1, 3, S, S], normalised -> image_embeds [1, X]."""
        return super().forward(pixel_values=pixel_values).image_embeds


def build(config: dict) -> ImageEncoder:
    """The tower of a config.json, its parameters named as in the published file."""
    encoder = ImageEncoder(CLIPVisionConfig.from_dict(config))
    embeddings = encoder.vision_model.embeddings
    # An index that no checkpoint holds: it would stay without memory where parameters are made without.
    embeddings.position_ids = torch.arange(embeddings.num_positions, device="cpu").unsqueeze(0)
    return encoder
