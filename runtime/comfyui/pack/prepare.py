"""Prepare Case and Prepare Options."""

from typing import get_args

import torch
from comfy_api.v0_0_2 import io

from sa.runtime.comfyui.cases import files_fingerprint
from sa.runtime.comfyui.preparing import prepare, prepare_options
from sa.runtime.prepare.options import PrepareOptions as Options

from .host import ComfyUI, array, tensor
from .inputs import CASE, CATEGORY, PREPARE, fps_input, identity_input, identity_place, models_input, place

POSE_NETWORKS = "sa-prepare: yolox_l, dw-ll_ucoco_384, scrfd_10g_bnkps and glintr100. With keypoints, the last two do"
ELSEWHERE = ("fps",)  # of the options: an input of Prepare Case itself


class PrepareCase(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SA_PrepareCase",
            display_name="Prepare Case (StableAnimator)",
            category=CATEGORY,
            description="Makes a case as sa-prepare does: the person of the reference moves like the person of the "
            "driving frames. Look at the preview before you animate it.",
            inputs=[
                io.Image.Input("reference", tooltip="One photo of the person."),
                io.Image.Input(
                    "driving", tooltip="The frames of the driving video, such as Get Video Components gives."
                ),
                fps_input(),
                io.Int.Input(
                    "width", default=512, min=64, max=4096, step=64, tooltip="In pixels: that of the engine set."
                ),
                io.Int.Input(
                    "height", default=512, min=64, max=4096, step=64, tooltip="In pixels: that of the engine set."
                ),
                io.String.Input(
                    "person",
                    default="largest",
                    tooltip="Whom to follow in the driving frames. largest: the largest person. A number: that person "
                    "of the first frame with several, counted from 0. all: follow the largest and draw everybody.",
                ),
                io.String.Input(
                    "keypoints",
                    default="",
                    optional=True,
                    tooltip="A file with the poses of another estimator, as sa-prepare --keypoints takes it. Empty: "
                    "the networks in models find them.",
                ),
                models_input(POSE_NETWORKS),
                identity_input(),
                PREPARE.Input(
                    "options", optional=True, tooltip="What Prepare Options gives; without it, sa-prepare's defaults."
                ),
                io.String.Input(
                    "folder",
                    default="",
                    optional=True,
                    tooltip="Where the case is kept, for Load Case or sa-run; an earlier case there is replaced. "
                    "Empty: a temporary folder, as long as ComfyUI caches this node.",
                ),
            ],
            outputs=[
                CASE.Output(display_name="case"),
                io.Image.Output(
                    display_name="preview",
                    tooltip="Up to 16 frames: reference | driving frame | pose over it | pose over the reference.",
                ),
                io.String.Output(display_name="report", tooltip="What case.json says: alignment, warnings, sources."),
            ],
        )

    @classmethod
    def fingerprint_inputs(
        cls, keypoints: str | None = None, models: str | None = None, identity: str | None = None, **others: object
    ) -> str:
        return files_fingerprint(place(keypoints), place(models), place(identity))

    @classmethod
    def execute(
        cls,
        reference: torch.Tensor,
        driving: torch.Tensor,
        fps: float,
        width: int,
        height: int,
        person: str,
        keypoints: str = "",
        models: str = "",
        identity: str = "",
        options: Options | None = None,
        folder: str = "",
    ) -> io.NodeOutput:
        made = prepare(
            array(reference),
            array(driving),
            width=width,
            height=height,
            person=person,
            models=place(models),
            keypoints=place(keypoints),
            fps=fps,
            folder=place(folder),
            identity=identity_place(identity),
            options=options,
            host=ComfyUI(),
        )
        return io.NodeOutput(made.case, tensor(made.preview), made.report)


class PrepareOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SA_PrepareOptions",
            display_name="Prepare Options (StableAnimator)",
            category=CATEGORY,
            description="How a case is made: where the person stands, whose proportions it has, what is done about "
            "gaps and jitter. The flags of sa-prepare.",
            inputs=[
                _input(name, field.annotation, field.default, field.description or "")
                for name, field in Options.model_fields.items()
                if name not in ELSEWHERE
            ],
            outputs=[PREPARE.Output(display_name="options")],
        )

    @classmethod
    def execute(
        cls,
        fit: str,
        reference_person: str,
        background: str,
        anchor: str,
        retarget: str,
        no_fill: bool,
        smooth: bool,
    ) -> io.NodeOutput:
        return io.NodeOutput(
            prepare_options(
                fit=fit,
                reference_person=reference_person.strip(),
                background=background.strip(),
                anchor=anchor,
                retarget=retarget,
                no_fill=no_fill,
                smooth=smooth,
            )
        )


def _input(name: str, kind: object, default: object, tooltip: str) -> "io.Input":
    """A field of the options as a node's input."""
    if kind is bool:
        return io.Boolean.Input(name, default=default, tooltip=tooltip)
    if kind is str:
        return io.String.Input(name, default=default, tooltip=tooltip)
    return io.Combo.Input(name, options=list(get_args(kind)), default=default, tooltip=tooltip)
