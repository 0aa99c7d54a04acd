"""The table of how good each set-up's videos of held-out puppets are."""

from sa.benchmarks.measure.results import Estimate
from sa.benchmarks.report import units
from sa.benchmarks.report.comparison import Workload
from sa.benchmarks.report.parts import Table

COLUMNS = {  # figure: title and digits
    "psnr": ("PSNR, dB", 2),
    "psnr_still": ("of the reference repeated", 2),
    "ssim": ("SSIM", 3),
    "sharpness": ("sharpness", 2),
    "fingers": ("fingers", 2),
    "joint_error": ("joints off, pixels", 2),
    "joint_floor": ("in the truth", 2),
    "csim": ("CSIM", 3),
    "csim_other": ("with others", 3),
    "csim_judge": ("by the 2nd embedder", 3),
    "csim_judge_other": ("with others", 3),
    "flicker": ("flicker, levels", 2),
    "seam": ("seam, levels", 2),
}


def quality_table(workload: Workload) -> Table:
    """One row per set-up, each figure with its interval."""
    rows = []
    for setup in workload.setups:
        if (row := setup.quality_row) is not None:
            figures = [written(getattr(row.quality, name), digits) for name, (_, digits) in COLUMNS.items()]
            rows.append((setup.label, str(row.n), *figures))
    columns = ("set-up", "puppets", *(title for title, _ in COLUMNS.values()))
    note = (
        "Means over held-out puppets, for videos of one tile, with bootstrap intervals of 95 % in brackets. CSIM is "
        "the cosine between a face and the reference's face, by the ArcFace that refinement follows. The second "
        "embedder takes no part in refinement."
    )
    return Table("Quality against the truth, on held-out puppets", columns, rows, note=note)


def written(figure: Estimate | None, digits: int) -> str:
    """Mean [low, high]."""
    if figure is None or not units.known(figure.mean):
        return units.NOTHING
    return f"{figure.mean:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
