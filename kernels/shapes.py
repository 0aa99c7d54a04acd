"""The shapes of StableAnimator's UNet, for which the kernels are compiled and timed."""

from typing import NamedTuple

FRAMES = 16  # per tile
BRANCHES = 2  # of guidance: unconditional, conditional
HEAD_DIM = 64
FACE_TOKENS = 4
GROUPS = 32  # of every GroupNorm
EPSILONS = (1e-5, 1e-6)  # of GroupNorm
LAYER_NORM_EPSILON = 1e-5  # of the LayerNorm before an ID attention
ELEMENTS = ("fp16", "fp32")  # of the activations, in Triton's names


class Level(NamedTuple):
    """One resolution of the UNet, for a video of 512x512."""

    channels: int
    tokens: int  # or pixels

    @property
    def heads(self) -> int:
        return self.channels // HEAD_DIM


LEVELS = (Level(320, 4096), Level(640, 1024), Level(1280, 256), Level(1280, 64))
WIDTHS = (320, 640, 1280)
