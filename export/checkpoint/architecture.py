"""The architectures that a checkpoint's config files describe, with limits checked before anything is built."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sa.runtime.errors import InputError, first_fault
from sa.runtime.system.regular_files import require_regular

Width = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]  # 32 groups in every GroupNorm
Depth = Annotated[int, Field(ge=1, le=8)]
Tokens = Annotated[int, Field(ge=8, le=4096)]


CONFIG_BYTES = 1 << 20  # the published ones have a few thousand


class Config(BaseModel):
    """The fields of a config file that StableAnimator's arithmetic depends on; others are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @classmethod
    def read(cls, path: Path) -> "Config":
        """Read the JSON file `path`. InputError names the file and the field at fault."""
        require_regular(path)
        try:
            if path.stat().st_size > CONFIG_BYTES:
                raise InputError(f"{path} has more than {CONFIG_BYTES:,} bytes: expected a JSON config file.")
            return cls.model_validate(json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise InputError(
                f"{path} is missing: a checkpoint needs this config; copy it from the published SVD folder."
            ) from None
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): expected a JSON config file.") from None
        except ValidationError as error:  # a ValueError too
            raise InputError(
                f"{path} describes no StableAnimator network: {first_fault(error)}; "
                "use the configs that belong to the weights."
            ) from None
        except (ValueError, RecursionError):
            raise InputError(f"{path} is not valid JSON: restore it from the published SVD folder.") from None


DownBlock = Literal["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"]
UpBlock = Literal["CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"]


class UNetConfig(Config):
    """SVD/unet/config.json."""

    block_out_channels: Annotated[tuple[Width, ...], Field(min_length=2, max_length=6)]
    num_attention_heads: tuple[Annotated[int, Field(ge=1, le=128)], ...]
    layers_per_block: Depth
    cross_attention_dim: Annotated[int, Field(ge=64, le=4096, multiple_of=64)]  # X; face tokens: X/64 heads
    addition_time_embed_dim: Annotated[int, Field(ge=2, le=2048, multiple_of=2)]
    projection_class_embeddings_input_dim: Annotated[int, Field(ge=6, le=6144)]
    in_channels: Literal[8]
    out_channels: Literal[4]
    transformer_layers_per_block: Literal[1] = 1
    down_block_types: tuple[DownBlock, ...]
    up_block_types: tuple[UpBlock, ...]

    @model_validator(mode="after")
    def _levels_agree(self) -> "UNetConfig":
        levels = len(self.block_out_channels)
        if not len(self.num_attention_heads) == len(self.down_block_types) == len(self.up_block_types) == levels:
            raise ValueError(
                "block_out_channels, num_attention_heads, down_block_types and up_block_types must be equally long"
            )
        for width, heads in zip(self.block_out_channels, self.num_attention_heads, strict=True):
            if width % heads:
                raise ValueError(f"width {width} is not a multiple of its {heads} attention heads")
        if self.projection_class_embeddings_input_dim != 3 * self.addition_time_embed_dim:
            raise ValueError("projection_class_embeddings_input_dim must be 3 * addition_time_embed_dim")
        return self


class VaeConfig(Config):
    """SVD/vae/config.json."""

    block_out_channels: Annotated[tuple[Width, ...], Field(min_length=4, max_length=4)]  # latents are H/8 x W/8
    layers_per_block: Depth
    latent_channels: Literal[4]
    in_channels: Literal[3]
    out_channels: Literal[3]
    scaling_factor: Annotated[float, Field(gt=0, lt=100)]


class ImageEncoderConfig(Config):
    """SVD/image_encoder/config.json (CLIP vision tower with projection)."""

    hidden_size: Tokens
    num_hidden_layers: Annotated[int, Field(ge=1, le=128)]
    num_attention_heads: Annotated[int, Field(ge=1, le=128)]
    intermediate_size: Annotated[int, Field(ge=8, le=32768)]
    projection_dim: Tokens
    image_size: Annotated[int, Field(ge=14, le=1024)]
    patch_size: Annotated[int, Field(ge=2, le=64)]
    num_channels: Literal[3] = 3
    hidden_act: Literal["gelu"]
    layer_norm_eps: Annotated[float, Field(gt=0, lt=0.1)] = 1e-5

    @model_validator(mode="after")
    def _heads_divide(self) -> "ImageEncoderConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        return self


class SchedulerConfig(Config):
    """SVD/scheduler/scheduler_config.json: the sigmas (docs/model.md, section 5)."""

    sigma_min: Annotated[float, Field(gt=0)]
    sigma_max: Annotated[float, Field(gt=0, le=1e5)]
    prediction_type: Literal["v_prediction"]
    use_karras_sigmas: Literal[True]
    timestep_type: Literal["continuous"]
    timestep_spacing: Literal["leading"]  # so the initial noise is scaled by sqrt(sigma_max^2 + 1)

    @model_validator(mode="after")
    def _ordered(self) -> "SchedulerConfig":
        if self.sigma_min >= self.sigma_max:
            raise ValueError("sigma_min must be less than sigma_max")
        return self


class FeatureExtractorConfig(Config):
    """SVD/feature_extractor/preprocessor_config.json: how pixels are normalised for the image encoder."""

    image_mean: tuple[float, float, float]
    image_std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class ArcFaceConfig(Config):
    """The IResNet in glintr100_torch. It has no config file; arcface.py reads these sizes from its tensors."""

    blocks: Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=4, max_length=4)]
    width: Annotated[int, Field(ge=4, le=512)]
    features: Annotated[int, Field(ge=8, le=4096)]
