"""Whole checkpoint folders by recipe, in the published layout: small ones for tests, one of the true size."""

import json
import shutil
from pathlib import Path

import paddle

from sa.benchmarks.recipe import tensor, write_safetensors
from sa.export.architecture import ArcFaceConfig
from sa.export.checkpoint import Checkpoint, Part
from sa.export.networks.arcface import ArcFace
from sa.export.roles import DEFINITIONS, slots, slots_by_part

FULL_SIZE_ARCFACE = ArcFaceConfig(blocks=(3, 13, 30, 3), width=64, features=512)
SMALL_ARCFACE = ArcFaceConfig(blocks=(1, 1, 1, 1), width=8, features=512)

PLACES: dict[Part, str] = {
    "unet": "Animation/unet.safetensors",
    "pose_net": "Animation/pose_net.safetensors",
    "face_encoder": "Animation/face_encoder.safetensors",
    "vae": "SVD/vae/diffusion_pytorch_model.safetensors",
    "image_encoder": "SVD/image_encoder/model.safetensors",
    "arcface": "Animation/glintr100_torch.safetensors",
}


def configs(
    unet_widths: tuple[int, ...],
    unet_heads: tuple[int, ...],
    cross_attention: int,
    vae_widths: tuple[int, ...],
    clip_width: int,
    clip_layers: int,
    clip_heads: int,
    layers: int,
) -> dict[str, dict]:
    """The config files of a checkpoint by their place under SVD/; CLIP sees 224x224 pixels in patches of 14."""
    return {
        "unet/config.json": {
            "addition_time_embed_dim": 256,
            "block_out_channels": unet_widths,
            "cross_attention_dim": cross_attention,
            "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
            "in_channels": 8,
            "layers_per_block": layers,
            "num_attention_heads": unet_heads,
            "out_channels": 4,
            "projection_class_embeddings_input_dim": 768,
            "transformer_layers_per_block": 1,
            "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
        },
        "vae/config.json": {
            "block_out_channels": vae_widths,
            "in_channels": 3,
            "latent_channels": 4,
            "layers_per_block": layers,
            "out_channels": 3,
            "scaling_factor": 0.18215,
        },
        "image_encoder/config.json": {
            "hidden_act": "gelu",
            "hidden_size": clip_width,
            "image_size": 224,
            "intermediate_size": 4 * clip_width,
            "layer_norm_eps": 1e-05,
            "num_attention_heads": clip_heads,
            "num_channels": 3,
            "num_hidden_layers": clip_layers,
            "patch_size": 14,
            "projection_dim": cross_attention,
        },
        "scheduler/scheduler_config.json": {
            "prediction_type": "v_prediction",
            "sigma_max": 700.0,
            "sigma_min": 0.002,
            "timestep_spacing": "leading",
            "timestep_type": "continuous",
            "use_karras_sigmas": True,
        },
        "feature_extractor/preprocessor_config.json": {
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
    }


SMALL = configs((32, 32, 64, 64), (2, 2, 4, 4), 64, (32, 32, 64, 64), 32, 2, 2, layers=1)
FULL_SIZE = configs(
    (320, 640, 1280, 1280), (5, 10, 20, 20), 1024, (128, 256, 512, 512), 1280, 32, 16, layers=2
)  # StableAnimator as published: 1.55 B parameters in the UNet


def write_configs(folder: Path, files: dict[str, dict]) -> None:
    for place, config in files.items():
        path = folder / "SVD" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config, indent=1) + "\n")


def write_weights(folder: Path, arcface: ArcFaceConfig) -> None:
    """Write every weight file of a checkpoint folder whose configs are there already."""
    expected = slots_by_part(Checkpoint(folder), DEFINITIONS)
    with paddle.LazyGuard():
        expected["arcface"] = slots(ArcFace(arcface))
    shapes = {part: {name: slot.shape for name, slot in names.items()} for part, names in expected.items()}
    for part, names in shapes.items():
        path = folder / PLACES[part]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, names, lambda name, shape, part=part: tensor(name, shape, part))


def write_checkpoint(folder: Path, files: dict[str, dict], arcface: ArcFaceConfig) -> None:
    """A checkpoint folder by recipe; a folder left half-written by an earlier attempt is begun anew."""
    done = folder / "complete"
    if done.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    write_configs(folder, files)
    write_weights(folder, arcface)
    done.touch()
