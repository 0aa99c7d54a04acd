"""What is exported, as the flags of sa-export say it."""

from dataclasses import dataclass
from typing import Literal

from sa.export.engines.refinement_roles import RefinePlanName
from sa.export.targets.target import Target
from sa.runtime.contract import Precision, Shapes


@dataclass(frozen=True)
class ExportSettings:
    shapes: Shapes
    target: Target
    preset: str | None = None  # the name of these shapes
    precision: Precision = "fp32"
    plain: bool = False  # the UNet as published, not specialized
    refine: RefinePlanName | Literal["auto"] | None = None  # also the engines of the HJB refinement, by this plan
    refine_window: int | None = None  # also the engines of a window of so many pixels
    cache_depth: int | None = None  # also a shallow UNet, of so many layers up

    @property
    def command(self) -> str:
        """The command line that makes such an engine set."""
        s = self.shapes
        words = (
            f"sa-export --checkpoint CHECKPOINT --out ENGINES --backend {self.target.backend} "
            f"--precision {self.precision} --height {s.height} --width {s.width} --tile-size {s.tile_size} "
            f"--decode-chunk {s.decode_chunk}"
        )
        words += self.target.flags
        if self.plain:
            words += " --plain"
        if self.refine is not None:
            words += " --refine" + (f" --refine-plan {self.refine}" if self.refine != "segmented" else "")
        if self.refine_window is not None:
            words += f" --refine-window {self.refine_window}"
        if self.cache_depth is not None:
            words += f" --cache-depth {self.cache_depth}"
        return words
