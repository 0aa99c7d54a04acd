"""The UNet inputs that are made once per video: latents, tokens, time ids (docs/model.md, sections 2 and 3)."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sa.runtime.backends.base import Engine
from sa.runtime.backends.video_unet import read_only
from sa.runtime.case.case import Picture, open_pose
from sa.runtime.case.images import clip_pixels, pose_pixels, reference_pixels
from sa.runtime.contract import Manifest, Role
from sa.runtime.sampling.time_ids import FPS_ID, MOTION_BUCKET_ID

KEPT_BYTES = 1 << 30  # of pose latents, once by frame and once by tile: 204 frames of 512x512

OpenEngine = Callable[[Role], AbstractContextManager[Engine]]


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is conditioned on. All arrays are float32."""

    image_latents: np.ndarray  # [1, 4, h, w]
    pose_latents: "PoseLatents"
    encoder_hidden_states: np.ndarray  # [1, 1 + 4, X]: image token, face tokens
    added_time_ids: np.ndarray  # [1, 3]


def make_conditioning(
    open_engine: OpenEngine,
    manifest: Manifest,
    reference: Image.Image,
    poses: Sequence[Picture],
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
    pose_latents = PoseLatents(open_engine, poses, height, width)
    pose_latents.keep(on_pose)
    return Conditioning(
        image_latents=image_latents,
        pose_latents=pose_latents,
        encoder_hidden_states=np.concatenate([image_embeds[:, None], face_tokens], axis=1),
        added_time_ids=np.array([[FPS_ID, MOTION_BUCKET_ID, noise_aug]], np.float32),
    )


class PoseLatents:
    """The pose latents of a video, by tile. As many frames, and then tiles, as `KEPT_BYTES` allows are kept.

    Other frames are computed when a tile asks for them: that is 0.2 % of the UNet's arithmetic.
    """

    def __init__(self, open_engine: OpenEngine, poses: Sequence[Picture], height: int, width: int):
        self._open_engine = open_engine
        self._poses = poses
        self._size = height, width
        self._kept: np.ndarray | None = None  # [n, C0, h, w] of the first frames
        self._tiles: dict[tuple[int, ...], np.ndarray] = {}  # by frames, those that are kept
        self._copied = 0  # bytes of these that are not frames of `_kept`
        self._last: tuple[tuple[int, ...], np.ndarray] | None = None  # and the tile that was asked for last

    def __len__(self) -> int:
        return len(self._poses)

    def keep(self, on_pose: Callable[[], None]) -> None:
        """Compute those that are kept."""
        with self._open_engine("pose_net") as engine:
            shape = engine.contract.outputs[0].largest[1:]
            count = min(len(self), max(1, KEPT_BYTES // (4 * math.prod(shape))))
            self._kept = np.empty((count, *shape), np.float32)
            for i in range(count):
                self._kept[i] = self._encode(engine, i)
                on_pose()

    def of(self, frames: np.ndarray) -> np.ndarray:
        """[1, n, C0, h, w]: those of the frames with these indices. Read-only, and the same array when asked again.

        That holds for a single tile always, and for several while they are kept.
        """
        key = tuple(frames.tolist())
        if self._last is None or self._last[0] != key:
            self._last = key, self._tiles[key] if key in self._tiles else self._gathered(key)
        return self._last[1]

    def _gathered(self, frames: tuple[int, ...]) -> np.ndarray:
        assert self._kept is not None, "keep() comes first"
        count, copied = len(self._kept), True
        if frames == tuple(range(min(count, len(frames)))):  # such as the first tile of every video
            made, copied = self._kept[: len(frames)], False
        elif max(frames) < count:
            made = self._kept[list(frames)]
        else:
            with self._open_engine("pose_net") as engine:
                made = np.stack([self._kept[i] if i < count else self._encode(engine, i) for i in frames])
        size = made.nbytes if copied else 0
        made = read_only(made[None])
        if self._kept.nbytes + self._copied + size <= KEPT_BYTES:
            self._tiles[frames] = made
            self._copied += size
        return made

    def _encode(self, engine: Engine, frame: int) -> np.ndarray:
        pose = pose_pixels(open_pose(self._poses[frame]), *self._size)
        return engine.infer({"pose": pose})["pose_latents"][0]
