"""Animate and Refine Options."""

from typing import get_args

from comfy_api.v0_0_2 import io

from sa.runtime.comfyui.animating import RefineOptions as Options
from sa.runtime.comfyui.animating import animate, settings_of
from sa.runtime.comfyui.cases import NodeCase
from sa.runtime.comfyui.engines import Engines
from sa.runtime.pipeline.quality import DEFAULT, qualities
from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.hjb import RefineSettings, Region
from sa.runtime.refinement.presets import DEFAULT as DEFAULT_PRESET
from sa.runtime.refinement.presets import refine_presets

from .host import ComfyUI, tensor
from .inputs import CASE, CATEGORY, ENGINES, REFINE


class Animate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        known = "; ".join(f"{name}: {quality.description}" for name, quality in qualities().items())
        return io.Schema(
            node_id="SA_Animate",
            display_name="Animate (StableAnimator)",
            category=CATEGORY,
            description="Animates a case. The node shows what the video looks like so far. When it is interrupted, it "
            "stops within one call of an engine.",
            inputs=[
                ENGINES.Input("engines", tooltip="What Load Engines opened."),
                CASE.Input("case", tooltip="Who is animated, and how they move."),
                io.Combo.Input("quality", options=list(qualities()), default=DEFAULT, tooltip=known),
                io.Int.Input(
                    "steps", default=0, min=0, max=1000, tooltip="Denoising steps; 0: as many as the quality has."
                ),
                io.Float.Input(
                    "guidance",
                    default=Settings.guidance,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How much the frames follow reference and poses. 1: no guidance, half the time.",
                ),
                io.Int.Input(
                    "seed",
                    default=Settings.seed,
                    min=0,
                    max=0xFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the noise. The same seed and inputs give the same frames, in sa-run too.",
                ),
                io.Int.Input(
                    "frames_per_piece",
                    default=0,
                    min=0,
                    max=10_000_000,
                    tooltip="0: all frames are one batch. Else they go out in batches of so many, and the nodes behind "
                    "this one work on one after another.",
                ),
                REFINE.Input("refine", optional=True, tooltip="Leads the faces to the reference's: Refine Options."),
            ],
            outputs=[
                io.Image.Output(display_name="images", is_output_list=True),
                io.Float.Output(display_name="fps", tooltip="Frames a second: the case's."),
                io.String.Output(display_name="report", tooltip="What run.json says: settings, warnings, seconds."),
            ],
        )

    @classmethod
    def execute(
        cls,
        engines: Engines,
        case: NodeCase,
        quality: str,
        steps: int,
        guidance: float,
        seed: int,
        frames_per_piece: int,
        refine: Options | None = None,
    ) -> io.NodeOutput:
        settings = settings_of(quality, steps, guidance, seed, refine)
        made = animate(engines, case, settings, frames_per_piece, ComfyUI())
        return io.NodeOutput([tensor(piece) for piece in made.pieces], made.fps, made.report)


class RefineOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SA_RefineOptions",
            display_name="Refine Options (StableAnimator)",
            category=CATEGORY,
            description="The face refinement (HJB): leads the frames' faces to the reference's. Needs engines made by "
            "sa-export --refine, and a case with face masks.",
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=list(refine_presets()),
                    default=DEFAULT_PRESET,
                    tooltip="Which steps are refined, how often and how far.\n"
                    + "\n".join(f"{name}: {preset.description}" for name, preset in refine_presets().items()),
                ),
                io.Combo.Input(
                    "region",
                    options=list(get_args(Region)),
                    default="face",
                    tooltip="Which latents move: the face's, with a smooth edge, or the whole frame's, as published.",
                ),
                io.Float.Input(
                    "tolerance",
                    default=0.0,
                    min=0.0,
                    max=0.99,
                    step=0.001,
                    tooltip="End a step's gradient steps once the loss falls by less than this share; 0: never.",
                ),
                io.Int.Input(
                    "start",
                    default=-1,
                    min=-1,
                    max=999,
                    tooltip="The first step refined, counted from 0. -1: the preset's, or 0 if end is given.",
                ),
                io.Int.Input(
                    "end",
                    default=-1,
                    min=-1,
                    max=999,
                    tooltip="The last step refined, itself included. -1: the preset's, or "
                    f"{RefineSettings.end} if start is given.",
                ),
                io.Int.Input(
                    "iterations",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Gradient steps at each of them. They take most of the time. 0: the preset's.",
                ),
                io.Float.Input(
                    "rate",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="How far a gradient step moves a latent at step 0; it falls to 0 until the last. "
                    "0: the preset's.",
                ),
            ],
            outputs=[REFINE.Output(display_name="refine")],
        )

    @classmethod
    def execute(
        cls, preset: str, region: Region, tolerance: float, start: int, end: int, iterations: int, rate: float
    ) -> io.NodeOutput:
        return io.NodeOutput(Options(preset, region, tolerance, start, end, iterations, rate))
