"""What sa-prepare is asked for, but where the case goes."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sa.runtime.case.images import WHITE
from sa.runtime.prepare.input.framing import Fit
from sa.runtime.prepare.input.timeline import Selection
from sa.runtime.prepare.options import Anchor, PrepareOptions, Retarget, colour_from, number_from


@dataclass(frozen=True)
class Settings:
    """The flags of sa-prepare that affect the result."""

    reference: Path
    driving: Path
    size: tuple[int, int] = (512, 512)  # width and height
    frames: Selection = field(default_factory=Selection)
    person: int | None = None  # to follow: a number in the first frame's order; None: the largest
    everybody: bool = False  # draw all persons, not only the one that is followed
    fps: float | None = None  # to resample a video to, or of a folder's frames
    anchor: Anchor = "none"
    retarget: Retarget = "body"
    fill: bool = True  # short gaps
    smooth: bool = False
    models: Path | None = None
    keypoints: Path | None = None
    reference_keypoints: Path | None = None
    device: str = "cpu"
    upstream: bool = False
    fit: Fit = "crop"  # how the photo becomes an image of that size
    reference_person: int | None = None  # in the photo, from left to right; None: the largest
    identity: bool = True  # False: no embedding, and no recogniser is needed
    background: tuple[int, int, int] = WHITE  # behind a transparent photo


def with_options(settings: Settings, options: PrepareOptions) -> Settings:
    """The settings with these options in place of theirs."""
    return replace(
        settings,
        fit=options.fit,
        reference_person=number_from(options.reference_person),
        background=colour_from(options.background),
        fps=options.fps,
        anchor=options.anchor,
        retarget=options.retarget,
        fill=not options.no_fill,
        smooth=options.smooth,
    )


def parameters_of(settings: Settings) -> dict:
    """The flags for case.json, except files, which are among the sources."""
    a = settings
    return {
        "size": "x".join(map(str, a.size)),
        "frames": asdict(a.frames),
        "person": "all" if a.everybody else "largest" if a.person is None else a.person,
        "fps": a.fps,
        "anchor": a.anchor,
        "retarget": a.retarget,
        "fill": a.fill and not a.upstream,
        "smooth": a.smooth,
        "fit": a.fit,
        "reference_person": "largest" if a.reference_person is None else a.reference_person,
        "identity": None if a.identity else "none",
        "background": "#{:02x}{:02x}{:02x}".format(*a.background),
        "device": a.device,
        "compat": "upstream" if a.upstream else None,
    }
