"""What refinement settings become in a run: the usual choices filled in, contradictions refused."""

from dataclasses import replace
from pathlib import Path

from sa.runtime.contract import Manifest
from sa.runtime.errors import EngineSetError, InputError
from sa.runtime.refinement.hjb import GradientOf, RefineSettings


def settled(settings: RefineSettings, upstream: bool, folder: Path, manifest: Manifest) -> RefineSettings:
    """The settings with region and gradient chosen. `folder`: the engine set's, for the sentences.

    The face's latents move, by the gradient of a window if the set has one; with `upstream` those of the whole frame,
    by its gradient. InputError for choices that contradict each other, EngineSetError for a window that is missing.
    """
    window = manifest.refinement.window is not None
    if upstream and (settings.region == "face" or settings.gradient == "window"):
        flag = "--refine-region face" if settings.region == "face" else "--refine-gradient window"
        raise InputError(f"{flag} is not what --compat upstream reproduces: leave out one of them.")
    if settings.region == "frame" and settings.gradient == "window":
        raise InputError(
            "--refine-gradient window is of the faces' surroundings, and --refine-region frame moves the whole frame: "
            "leave out one of them."
        )
    if settings.gradient == "window" and not window:
        command = manifest.command.removeprefix("sa-export").replace(" --refine-plan whole", "")
        raise EngineSetError(
            f"{folder} was made without a window, which --refine-gradient window takes: rebuild it with "
            f"`sa-export --refine-window PIXELS{command}`, or leave the flag out."
        )
    region = settings.region or ("frame" if upstream else "face")
    usual: GradientOf = "window" if window and region == "face" else "frame"
    return replace(settings, region=region, gradient=settings.gradient or usual)
