"""The settings of a run, as the flags of sa-run give them."""

from dataclasses import dataclass
from pathlib import Path

from sa.runtime.refinement.hjb import RefineSettings
from sa.runtime.sampling.schedule import ScheduleName


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of sa-run that affect the result."""

    quality: str = "exact"  # whose settings these are, but for those that were given by themselves
    steps: int = 25
    schedule: ScheduleName = "karras"  # of the steps' sigmas
    guidance: float = 3.0  # the last frame's scale
    guidance_start: float | None = None  # the first frame's; None: the same
    guidance_interval: tuple[float, float] | None = None  # sigmas from above the first to the second; None: all
    cache_interval: int = 1  # K: the whole UNet is called at steps 0, K, 2K, ..., its outermost layers at the others
    tile_overlap: int | None = None  # frames; None: 4, or one less than a smaller tile
    noise_aug: float = 0.02
    seed: int = 23123134
    fps: float | None = None  # of the written video; None: the case's own, else 8
    identity: str | None = None  # a .npy file, "none", or None for the case's identity.npy
    models: Path | None = None  # folder of face networks, for a case without identity.npy
    noise: Path | None = None  # an .npz with the two draws, instead of the seed
    compat: str | None = None  # "upstream"
    refine: RefineSettings | None = None  # the HJB face refinement; None: without
