"""Puppet videos by number: the same split and number give the same video, and splits share no puppet."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image

from sa.benchmarks.puppet.draw.identity import Identity, random_identity
from sa.benchmarks.puppet.draw.motion import Motion, Posture, posture, random_motion
from sa.benchmarks.puppet.draw.picture import draw_face_mask, draw_puppet, face_box, hand_boxes
from sa.benchmarks.puppet.draw.skeleton import draw_pose

SIZE = 128  # pixels along a side
POSE_SIZE = 512  # pose images are drawn at this size, as the published extractor draws them for a photo of that size

# Identities and motions of one split are never drawn in another. The second embedder and the joint finder that
# judge the results have a split of their own, so that they share no puppet with the ArcFace that HJB follows.
Split = Literal["train", "judges", "held-out"]
_NUMBERS = {"train": 1, "judges": 2, "held-out": 3}


def generator(split: Split, *numbers: int) -> np.random.Generator:
    """A random stream of a split. Streams of different numbers are independent."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([_NUMBERS[split], *numbers])))


@dataclass(frozen=True)
class Clip:
    identity: Identity
    motion: Motion

    def posture(self, frame: float) -> Posture:
        return posture(self.identity, self.motion, frame)

    def picture(self, frame: float) -> Image.Image:
        """RGB, 128x128."""
        return draw_puppet(self.identity, self.posture(frame), SIZE)

    def pose(self, frame: float) -> Image.Image:
        """The skeleton, RGB, 512x512."""
        return draw_pose(self.posture(frame), POSE_SIZE)

    def face_mask(self, frame: float) -> Image.Image:
        """8 bits, 128x128."""
        return draw_face_mask(self.posture(frame), SIZE)

    def face_box(self, frame: float) -> tuple[int, int, int, int]:
        """Left, top, right, bottom, inclusive, in pixels of 128x128."""
        return face_box(self.posture(frame), SIZE)

    def hand_boxes(self, frame: float) -> np.ndarray:
        """[2, 4] int, the same for both hands."""
        return hand_boxes(self.posture(frame), SIZE)


@lru_cache(maxsize=4096)
def puppet(split: Split, number: int) -> Identity:
    return random_identity(generator(split, number, 0))


def clip(split: Split, number: int, take: int = 0) -> Clip:
    """Puppet `number` of a split in its `take`-th motion."""
    return Clip(puppet(split, number), random_motion(generator(split, number, 1, take)))
