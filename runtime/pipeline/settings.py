"""The settings of a run, as the flags of sa-run give them."""

from dataclasses import dataclass
from pathlib import Path

from sa.runtime.refinement.hjb import RefineSettings


@dataclass(frozen=True)
class Settings:
    """The flags of sa-run that affect the result."""

    steps: int = 25
    guidance: float = 3.0  # the last frame's scale
    guidance_start: float | None = None  # the first frame's; None: the same
    tile_overlap: int = 4
    noise_aug: float = 0.02
    seed: int = 23123134
    fps: float | None = None  # of the written video; None: the case's own, else 8
    identity: str | None = None  # a .npy file, "none", or None for the case's identity.npy
    models: Path | None = None  # folder of face networks, for a case without identity.npy
    noise: Path | None = None  # an .npz with the two draws, instead of the seed
    compat: str | None = None  # "upstream"
    refine: RefineSettings | None = None  # the HJB face refinement; None: without
    cache_interval: int = (
        1  # the UNet is called whole at every so manieth step, between them its outermost layers alone
    )
