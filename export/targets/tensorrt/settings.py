"""How TensorRT's plans are built: what sa-export's flags say, and whether this machine can, asked before any work."""

import argparse
from dataclasses import dataclass
from importlib.util import find_spec

from sa.runtime.backends.cuda import compute_capability
from sa.runtime.backends.libraries import backend_version, release
from sa.runtime.backends.tensorrt_versions import LIBRARIES, NEWEST, OLDEST, RTX_CAPABILITIES, is_supported
from sa.runtime.errors import InputError

NAMES = {f"sm{one.replace('.', '')}": one for one in RTX_CAPABILITIES}  # as --device has them
DEVICES = "sm86,sm89,sm120"  # GeForce 30, 40 and 50
AMPERE = (8, 0)  # from which on the kernels' PTX runs
LEVELS = range(6)
WORKSPACE_GIB = 1024  # more than any GPU has


@dataclass(frozen=True)
class PlanSettings:
    """What the builder is told beside the program."""

    capabilities: tuple[str, ...]  # "8.9", of the GPUs the plans are for
    compatible: bool = False  # TensorRT: for every GPU from Ampere on
    kernels: bool = False  # TensorRT: our kernels as plugins
    workspace_bytes: int | None = None  # at most, for each engine; None: all the GPU has
    level: int | None = None  # of optimization, 0 to 5; None: the library's own choice
    stripped: bool = False  # TensorRT: weights stay in files that plans share


def plan_settings(a: argparse.Namespace) -> PlanSettings | None:
    """None without TensorRT; InputError for flags that do not fit or for what is missing here."""
    if a.backend not in LIBRARIES:
        if a.device is not None and a.backend != "onnxruntime":
            raise InputError(
                "--device is a choice of ONNX Runtime and of TensorRT for RTX: give it with --backend onnxruntime or "
                "tensorrt-rtx."
            )
        if a.device not in (None, "cpu", "cuda"):
            raise InputError(f"--device {a.device} is none of ONNX Runtime: choose cpu or cuda.")
        if a.workspace is not None:
            raise InputError("--workspace is a choice of TensorRT: give it with --backend tensorrt or tensorrt-rtx.")
    if a.backend != "tensorrt":
        given = (
            ("--builder-level", a.builder_level is not None),
            ("--hardware-compatible", a.hardware_compatible),
            ("--strip-plans", a.strip_plans),
            ("--kernels on", a.kernels == "on"),
        )
        if flag := next((name for name, there in given if there), None):
            raise InputError(f"{flag} is a choice of TensorRT: give it with --backend tensorrt.")
    if a.backend not in LIBRARIES:
        return None
    if a.workspace is not None and not 0 < a.workspace <= WORKSPACE_GIB:
        raise InputError(f"--workspace must be more than 0 and at most {WORKSPACE_GIB} GiB, not {a.workspace:g}.")
    if a.builder_level is not None and a.builder_level not in LEVELS:
        raise InputError(f"--builder-level must be {LEVELS[0]} to {LEVELS[-1]}, not {a.builder_level}.")
    _check_library(a.backend)
    return PlanSettings(
        capabilities=_own(a) if a.backend == "tensorrt" else tuple(map(_named, (a.device or DEVICES).split(","))),
        compatible=a.hardware_compatible,
        kernels=a.kernels == "on",
        workspace_bytes=None if a.workspace is None else int(a.workspace * 2**30),
        level=a.builder_level,
        stripped=a.strip_plans,
    )


def _check_library(backend: str) -> None:
    title, version = LIBRARIES[backend].title, backend_version(backend)
    install = f"`pip install 'stableanimator-deploy[{backend}]'`"
    if version is None:
        raise InputError(f"--backend {backend} needs {title}, which is not installed: {install}.")
    if not is_supported(backend, release(version)):
        oldest, newest = (".".join(map(str, numbers)) for numbers in (OLDEST, NEWEST))
        raise InputError(
            f"--backend {backend} needs {title} {oldest} to {newest}, but {version} is installed: {install}."
        )


def _named(device: str) -> str:
    """ "sm89" as "8.9"."""
    if device not in NAMES:
        raise InputError(
            f"--device {device} is none of TensorRT for RTX, which knows no A100, H100 or H200 either: choose from "
            f"{', '.join(NAMES)}, or export with --backend tensorrt on the GPU itself."
        )
    return NAMES[device]


def _own(a: argparse.Namespace) -> tuple[str]:
    """That of the GPU in this machine, on which TensorRT builds and for which."""
    if a.device is not None:
        raise InputError(
            "--device is a choice of TensorRT for RTX, and TensorRT builds for the GPU in this machine: leave it out, "
            "or give --backend tensorrt-rtx."
        )
    try:
        found = compute_capability()
    except ImportError:
        raise InputError(
            "--backend tensorrt needs cuda-bindings, which is not installed: "
            "`pip install 'stableanimator-deploy[tensorrt]'`."
        ) from None
    if found is None:
        raise InputError(
            "--backend tensorrt builds plans on the GPU they are for, but found none here, or no driver: run sa-export "
            "on that machine, or give --backend tensorrt-rtx, which builds for GeForce and RTX cards anywhere."
        )
    if a.hardware_compatible or a.kernels == "on":
        flag = "--hardware-compatible" if a.hardware_compatible else "--kernels on"
        if release(found) < AMPERE:
            raise InputError(
                f"{flag} needs a GPU of compute capability 8.0 or later, this one has {found}: leave it out."
            )
    if a.kernels == "on" and any(find_spec(name) is None for name in ("torch", "triton")):
        raise InputError(
            "--kernels on compiles kernels with Triton, which is not installed: "
            "`pip install 'stableanimator-deploy[kernels]'`, or leave it out."
        )
    return (found,)
