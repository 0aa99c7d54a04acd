"""TensorRT 10.9 to 11 and TensorRT for RTX share one API. This module has the differences.

11 and RTX have only strongly typed networks and no precision flags, so sa-export builds strongly typed networks
everywhere. Enumerations were renumbered between 10 and 11, so members are looked up by name.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

OLDEST, NEWEST = (10, 9), (11,)  # of TensorRT; 10.9 brought ahead-of-time plugins, and 12 may change anything
# NVIDIA's support matrix of TensorRT for RTX 1.7: GeForce and RTX cards from Turing on. Its enumeration also names 8.0,
# which that matrix does not list. No data-center GPU is in it: neither A100 (8.0) nor H100 and H200 (9.0).
RTX_CAPABILITIES = ("7.5", "8.6", "8.9", "12.0", "12.1")


@dataclass(frozen=True)
class Library:
    """One of the two libraries."""

    title: str
    module: str
    timed: bool  # picks kernels by timing them, so it builds on the GPU and has a timing cache


LIBRARIES = {
    "tensorrt": Library("TensorRT", "tensorrt", timed=True),
    "tensorrt-rtx": Library("TensorRT for RTX", "tensorrt_rtx", timed=False),
}


def load(backend: str) -> ModuleType:
    """Import the library and return its module."""
    return import_module(LIBRARIES[backend].module)


def is_supported(backend: str, release: tuple[int, ...]) -> bool:
    """Whether plans can be built with this release of the library."""
    return backend != "tensorrt" or (release >= OLDEST and release[:1] <= NEWEST)


def network_flags(trt: ModuleType) -> int:
    """Creation flags of a strongly typed network. Versions without the flag have no other networks."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def choose_gpus(trt: ModuleType, config: Any, capabilities: tuple[str, ...], compatible: bool) -> None:
    """Tell the builder which GPUs the plan is for.

    RTX takes their compute capabilities. TensorRT builds for the current GPU and all others of its capability. With
    `compatible` it builds for every GPU since Ampere, which leaves fewer kernels to choose from.
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
