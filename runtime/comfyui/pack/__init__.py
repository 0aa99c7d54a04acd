"""StableAnimator on engines, as ComfyUI nodes. `sa-comfyui install` puts this folder into custom_nodes."""

try:
    import sa.runtime.comfyui  # noqa: F401
except ImportError:
    raise ImportError(
        "the StableAnimator nodes need stableanimator-deploy in ComfyUI's Python: install it there, with "
        "`[cpu,prepare]`, or with `[cuda]` and without Prepare Case, and restart ComfyUI."
    ) from None

from comfy_api.v0_0_2 import ComfyExtension

from .animate import Animate, RefineOptions
from .cases import CaseFromImages, LoadCase
from .engines import LoadEngines
from .prepare import PrepareCase, PrepareOptions


class StableAnimatorExtension(ComfyExtension):
    async def get_node_list(self) -> list[type]:
        return [LoadEngines, CaseFromImages, PrepareCase, PrepareOptions, LoadCase, Animate, RefineOptions]


async def comfy_entrypoint() -> StableAnimatorExtension:
    return StableAnimatorExtension()
