"""Run engine sets: `from sa.runtime import Pipeline, Case`. Nothing heavy is imported before it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sa.runtime.case.case import Case
    from sa.runtime.pipeline.cancel import CancelToken
    from sa.runtime.pipeline.pipeline import Pipeline
    from sa.runtime.refinement.hjb import RefineSettings
    from sa.runtime.refinement.presets import refine_settings

PROJECT = "stableanimator-deploy"

_HOMES = {
    "CancelToken": "sa.runtime.pipeline.cancel",
    "Case": "sa.runtime.case.case",
    "Pipeline": "sa.runtime.pipeline.pipeline",
    "RefineSettings": "sa.runtime.refinement.hjb",
    "refine_settings": "sa.runtime.refinement.presets",
}
__all__ = ["PROJECT", "CancelToken", "Case", "Pipeline", "RefineSettings", "refine_settings"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
