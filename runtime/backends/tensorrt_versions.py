"""TensorRT 10.9 to 11 and TensorRT for RTX have one API, but for what stands here.

11 and RTX know strongly typed networks alone, and dropped the builder's flags for precisions: we build no other, and
ask for no such flag. Enumerations were renumbered between 10 and 11, so their members are always looked up by name.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

OLDEST, NEWEST = (10, 9), (11,)  # of TensorRT: ahead-of-time plugins came with the first, the next may change anything


@dataclass(frozen=True)
class Library:
    """One of the two."""

    title: str
    module: str
    timed: bool  # picks kernels by running them where it builds, so needs the GPU and keeps the times


LIBRARIES = {
    "tensorrt": Library("TensorRT", "tensorrt", timed=True),
    "tensorrt-rtx": Library("TensorRT for RTX", "tensorrt_rtx", timed=False),
}


def load(backend: str) -> ModuleType:
    """The library's module, imported now."""
    return import_module(LIBRARIES[backend].module)


def is_supported(backend: str, release: tuple[int, ...]) -> bool:
    """Whether plans can be built with this release of the library."""
    return backend != "tensorrt" or (release >= OLDEST and release[:1] <= NEWEST)


def network_flags(trt: ModuleType) -> int:
    """Of a strongly typed network; where there is no flag for that, there is nothing else."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def choose_gpus(trt: ModuleType, config: Any, capabilities: tuple[str, ...], compatible: bool) -> None:
    """Tell the builder which GPUs the plan is for.

    RTX is given their compute capabilities. TensorRT builds for the GPU at hand and all of its capability, or, if
    `compatible`, for every one from Ampere on, which leaves it fewer kernels to choose from.
    """
    if hasattr(trt, "ComputeCapability"):
        config.num_compute_capabilities = len(capabilities)
        for i, capability in enumerate(capabilities):
            name = f"SM{capability.replace('.', '')}"
            config.set_compute_capability(getattr(trt.ComputeCapability, name), i)
    else:
        levels = trt.HardwareCompatibilityLevel
        level = levels.AMPERE_PLUS if compatible else levels.SAME_COMPUTE_CAPABILITY
        config.hardware_compatibility_level = level
