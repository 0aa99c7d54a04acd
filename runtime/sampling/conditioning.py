"""The UNet inputs that are made once per video: latents, tokens, time ids (docs/model.md, sections 2 and 3)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sa.runtime.backends.base import Engine
from sa.runtime.case.images import clip_pixels, pose_pixels, read_image, reference_pixels
from sa.runtime.contract import Manifest, Role

FPS_ID = 6.0  # the model's frames-per-second id, 7 - 1; the written video may have another rate
MOTION_BUCKET_ID = 127.0

OpenEngine = Callable[[Role], AbstractContextManager[Engine]]


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is conditioned on. All arrays are float32."""

    image_latents: np.ndarray  # [1, 4, h, w]
    pose_latents: np.ndarray  # [T, C0, h, w]
    encoder_hidden_states: np.ndarray  # [1, 1 + 4, X]: image token, face tokens
    added_time_ids: np.ndarray  # [1, 3]


def make_conditioning(
    open_engine: OpenEngine,
    manifest: Manifest,
    reference: Image.Image,
    poses: list[Path],
    identity: np.ndarray,
    image_noise: np.ndarray,
    noise_aug: float,
    on_pose: Callable[[], None] = lambda: None,
) -> Conditioning:
    """identity: [1, 512]; image_noise: [1, 3, H, W], standard normal. Each engine is loaded only while it is needed."""
    height, width = manifest.shapes.height, manifest.shapes.width
    with open_engine("image_encoder") as engine:
        size = engine.contract.inputs[0].largest[-1]
        pixels = clip_pixels(reference, size, manifest.image_mean, manifest.image_std)
        image_embeds = engine.infer({"pixel_values": pixels})["image_embeds"]
    with open_engine("face_encoder") as engine:
        face_tokens = engine.infer({"identity": identity, "image_embeds": image_embeds})["face_tokens"]
    with open_engine("vae_encoder") as engine:
        image = reference_pixels(reference, height, width) + np.float32(noise_aug) * image_noise
        image_latents = engine.infer({"image": image})["image_latents"]
    with open_engine("pose_net") as engine:
        pose_latents = np.empty((len(poses), *engine.contract.outputs[0].largest[1:]), np.float32)
        for i, path in enumerate(poses):
            pose = pose_pixels(read_image(path), height, width)
            pose_latents[i] = engine.infer({"pose": pose})["pose_latents"][0]
            on_pose()
    return Conditioning(
        image_latents=image_latents,
        pose_latents=pose_latents,
        encoder_hidden_states=np.concatenate([image_embeds[:, None], face_tokens], axis=1),
        added_time_ids=np.array([[FPS_ID, MOTION_BUCKET_ID, noise_aug]], np.float32),
    )
