"""NVIDIA's bindings, oldest and newest, have all parts of TensorRT that we use to build and run plans."""

import subprocess
import sys
from pathlib import Path

import pytest

BINDINGS = Path(__file__).resolve().parents[2] / ".cache" / "tensorrt-bindings"
USED = {
    "Builder": (
        "create_network",
        "create_builder_config",
        "create_optimization_profile",
        "build_serialized_network",
    ),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "OnnxParser": (
        "parse",
        "num_errors",
        "get_error",
    ),
    "IBuilderConfig": (
        "clear_flag",
        "set_flag",
        "set_memory_pool_limit",
        "builder_optimization_level",
        "add_optimization_profile",
        "create_timing_cache",
        "set_timing_cache",
        "get_timing_cache",
        "hardware_compatibility_level",
    ),
    "ITimingCache": ("serialize",),
    "BuilderFlag": (
        "TF32",
        "STRIP_PLAN",
        "REFIT_IDENTICAL",
    ),
    "MemoryPoolType": ("WORKSPACE",),
    "HardwareCompatibilityLevel": (
        "AMPERE_PLUS",
        "SAME_COMPUTE_CAPABILITY",
    ),
    "IOptimizationProfile": ("set_shape",),
    "ILogger": (
        "Severity",
        "log",
    ),
    "Logger": ("ERROR",),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "create_execution_context",
        "device_memory_size_v2",
    ),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
    "IExecutionContext": (
        "set_input_shape",
        "get_tensor_shape",
        "set_tensor_address",
        "set_device_memory",
        "execute_async_v3",
    ),
    "Refitter": ("refit_cuda_engine",),
    "OnnxParserRefitter": ("refit_from_file",),
}
LOOK = """
import sys
from pathlib import Path
from bindings import load
from sa.runtime.backends.tensorrt_versions import is_supported, network_flags
trt = load(Path(sys.argv[1])).trt
assert not hasattr(trt, "ComputeCapability")
assert is_supported("tensorrt", tuple(map(int, trt.__version__.split(".")[:3])))
assert network_flags(trt) == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
for name in sys.argv[2:]:
    owner, _, member = name.partition(".")
    if not hasattr(getattr(trt, owner), member):
        print("missing", name)
"""


@pytest.mark.parametrize("version", ["10.9.0.34", "11.4.0.106"])
def test_what_is_used_is_there(version):
    if not (BINDINGS / version).is_dir():
        pytest.skip("make test-kernels fetches the bindings")
    names = [f"{owner}.{member}" for owner, members in USED.items() for member in members]
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(BINDINGS / version), *names],
        cwd=Path(__file__).parent,  # where bindings.py is
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("missing")] == []
