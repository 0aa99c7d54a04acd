"""What travels along our own links, where relative paths begin, and the inputs that several nodes have."""

import os
from pathlib import Path
from typing import Literal

from comfy_api.v0_0_2 import io

COMFYUI = Path(__file__).parents[2]  # this pack is in its custom_nodes
CATEGORY = "StableAnimator"
ENGINES = io.Custom("SA_ENGINES")  # sa.runtime.comfyui.engines.Engines
CASE = io.Custom("SA_CASE")  # sa.runtime.comfyui.cases.NodeCase
PREPARE = io.Custom("SA_PREPARE")  # sa.runtime.prepare.options.PrepareOptions
REFINE = io.Custom("SA_REFINE")  # sa.runtime.comfyui.animating.RefineOptions


def place(text: str | None) -> Path | None:
    """The file or folder that a text field names; a relative one is in ComfyUI's input folder.

    None: the field is empty, or comes from another node that did not run yet.
    """
    # os.path leaves a ~user that there is not as it is; Path raises.
    return COMFYUI / "input" / os.path.expanduser(text.strip()) if text and text.strip() else None


def identity_place(text: str) -> Path | Literal["none"] | None:
    return "none" if text.strip() == "none" else place(text)


def identity_input() -> io.String.Input:
    return io.String.Input(
        "identity",
        default="",
        optional=True,
        tooltip="A .npy file with the face recogniser's embedding of the reference: 512 floats, not normalised. Empty: "
        "the case's own identity.npy, else made by the networks in models. none: no identity; the person's face will "
        "not be kept.",
    )


def models_input(networks: str) -> io.String.Input:
    return io.String.Input(
        "models", default="", optional=True, tooltip=f"A folder, which is searched for the ONNX files of {networks}."
    )


def fps_input() -> io.Float.Input:
    return io.Float.Input(
        "fps",
        default=8.0,
        min=0.1,
        max=240.0,
        step=0.01,
        tooltip="Frames a second of the driving video; the animation gets the same.",
    )
