"""Case from Images, Prepare Case and Load Case."""

import torch
from comfy_api.v0_0_2 import io

from sa.runtime.comfyui.cases import case_from_images, files_fingerprint, load_case
from sa.runtime.comfyui.preparing import prepare

from .host import ComfyUI, array, tensor
from .inputs import CASE, CATEGORY, fps_input, identity_input, identity_place, models_input, place

FACE_NETWORKS = "insightface's antelopev2, which make the identity of a case that has none"
POSE_NETWORKS = "sa-prepare: yolox_l, dw-ll_ucoco_384, scrfd_10g_bnkps and glintr100. With keypoints, the last two do"


class CaseFromImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SA_CaseFromImages",
            display_name="Case from Images (StableAnimator)",
            category=CATEGORY,
            description="A case of a reference picture and poses that are drawn and aligned already.",
            inputs=[
                io.Image.Input("reference", tooltip="One picture of the person."),
                io.Image.Input(
                    "poses", tooltip="One drawn pose per frame, as DWPose draws them, aligned to the person."
                ),
                fps_input(),
                io.Mask.Input(
                    "faces", optional=True, tooltip="The face in each frame, for the refinement: one mask per pose."
                ),
                io.Mask.Input(
                    "reference_face", optional=True, tooltip="The face in the reference, for the refinement: one mask."
                ),
                identity_input(),
                models_input(FACE_NETWORKS),
            ],
            outputs=[CASE.Output(display_name="case")],
        )

    @classmethod
    def fingerprint_inputs(cls, identity: str | None = None, models: str | None = None, **others: object) -> str:
        return files_fingerprint(place(identity), place(models))

    @classmethod
    def execute(
        cls,
        reference: torch.Tensor,
        poses: torch.Tensor,
        fps: float,
        faces: torch.Tensor | None = None,
        reference_face: torch.Tensor | None = None,
        identity: str = "",
        models: str = "",
    ) -> io.NodeOutput:
        whose = identity_place(identity), place(models)
        face_masks = None if faces is None else array(faces)
        reference_mask = None if reference_face is None else array(reference_face)
        made = case_from_images(array(reference), array(poses), face_masks, reference_mask, *whose, fps)
        return io.NodeOutput(made)


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
            host=ComfyUI(),
        )
        return io.NodeOutput(made.case, tensor(made.preview), made.report)


class LoadCase(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SA_LoadCase",
            display_name="Load Case (StableAnimator)",
            category=CATEGORY,
            description="A case in a folder, as sa-prepare writes it and sa-run takes it.",
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="The case's folder, with reference.png and poses/. A relative path is in ComfyUI's input "
                    "folder.",
                ),
                io.Int.Input("first", default=0, min=0, max=10_000_000, tooltip="The first frame, counted from 0."),
                io.Int.Input(
                    "frames", default=0, min=0, max=10_000_000, tooltip="How many frames; 0: all from the first on."
                ),
                identity_input(),
                models_input(FACE_NETWORKS),
            ],
            outputs=[CASE.Output(display_name="case")],
        )

    @classmethod
    def fingerprint_inputs(
        cls, folder: str | None, identity: str | None = None, models: str | None = None, **others: object
    ) -> str:
        return files_fingerprint(place(folder), place(identity), place(models))

    @classmethod
    def execute(cls, folder: str, first: int, frames: int, identity: str = "", models: str = "") -> io.NodeOutput:
        return io.NodeOutput(load_case(place(folder), first, frames, identity_place(identity), place(models)))
