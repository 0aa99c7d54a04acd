"""transformers' CLIP vision tower with its projection (docs/model.md, section 2.2)."""

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection


class ImageEncoder(CLIPVisionModelWithProjection):
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """pixel_values [1, 3, S, S], normalised -> image_embeds [1, X]."""
        return super().forward(pixel_values=pixel_values).image_embeds


def build(config: dict) -> ImageEncoder:
    """The tower of a config.json. Its parameters have the published file's names."""
    encoder = ImageEncoder(CLIPVisionConfig.from_dict(config))
    embeddings = encoder.vision_model.embeddings
    # No checkpoint holds this index. Built on the meta device it would never get memory, so it is made here.
    embeddings.position_ids = torch.arange(embeddings.num_positions, device="cpu").unsqueeze(0)
    return encoder
