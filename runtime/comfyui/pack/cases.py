"""Case from Images and Load Case."""

import torch
from comfy_api.v0_0_2 import io

from sa.runtime.comfyui.cases import case_from_images, files_fingerprint, load_case

from .host import array
from .inputs import CASE, CATEGORY, fps_input, identity_input, identity_place, models_input, place

FACE_NETWORKS = "insightface's antelopev2, which make the identity of a case that has none"


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
