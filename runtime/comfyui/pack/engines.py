"""Load Engines."""

from comfy_api.v0_0_2 import io

from sa.runtime.comfyui.engines import (
    DEVICES,
    KEEPING,
    engine_folder,
    engine_sets,
    engines_fingerprint,
    open_engines,
)
from sa.runtime.comfyui.install import NAME
from sa.runtime.errors import UserError

from .inputs import CATEGORY, COMFYUI, ENGINES

ROOT = COMFYUI / "models" / NAME


class LoadEngines(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SA_LoadEngines",
            display_name="Load Engines (StableAnimator)",
            category=CATEGORY,
            description="Opens an engine set made by sa-export. It is closed when ComfyUI forgets this node's output.",
            inputs=[
                io.Combo.Input(
                    "engines",
                    options=engine_sets(ROOT),
                    tooltip="A folder in models/stableanimator that sa-export made, or a link to one.",
                ),
                io.Combo.Input(
                    "device",
                    options=list(DEVICES),
                    default="as exported",
                    tooltip="Where the engines run. as exported: the device that the set was made for.",
                ),
                io.Combo.Input(
                    "keep_loaded",
                    options=list(KEEPING),
                    default="while memory allows",
                    tooltip="Whether engines stay in memory between two runs. while memory allows: they do if the "
                    "memory that is free now holds them all. never: other models have the memory in between.",
                ),
            ],
            outputs=[ENGINES.Output(display_name="engines")],
        )

    @classmethod
    def validate_inputs(cls, engines: str | None) -> bool | str:
        if engines is None:  # it comes from another node that did not run yet
            return True
        try:
            engine_folder(ROOT, engines)
        except UserError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, engines: str | None, **others: object) -> str | None:
        return None if engines is None else engines_fingerprint(ROOT, engines)

    @classmethod
    def execute(cls, engines: str, device: str, keep_loaded: str) -> io.NodeOutput:
        return io.NodeOutput(open_engines(ROOT, engines, device, keep_loaded))
