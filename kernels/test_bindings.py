"""What building and running plans needs of TensorRT is in NVIDIA's bindings, the oldest and the newest we know."""

import subprocess
import sys
from pathlib import Path

import pytest

BINDINGS = Path(__file__).resolve().parent.parent / ".cache" / "tensorrt-bindings"
USED = """
Builder.create_network Builder.create_builder_config Builder.create_optimization_profile
Builder.build_serialized_network NetworkDefinitionCreationFlag.STRONGLY_TYPED OnnxParser.parse OnnxParser.num_errors
OnnxParser.get_error IBuilderConfig.clear_flag IBuilderConfig.set_flag IBuilderConfig.set_memory_pool_limit
IBuilderConfig.builder_optimization_level IBuilderConfig.add_optimization_profile IBuilderConfig.create_timing_cache
IBuilderConfig.set_timing_cache IBuilderConfig.get_timing_cache IBuilderConfig.hardware_compatibility_level
ITimingCache.serialize BuilderFlag.TF32 BuilderFlag.STRIP_PLAN BuilderFlag.REFIT_IDENTICAL MemoryPoolType.WORKSPACE
HardwareCompatibilityLevel.AMPERE_PLUS HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
IOptimizationProfile.set_shape ILogger.Severity ILogger.log Logger.ERROR Runtime.deserialize_cuda_engine
ICudaEngine.create_execution_context ICudaEngine.device_memory_size_v2 ExecutionContextAllocationStrategy.USER_MANAGED
IExecutionContext.set_input_shape IExecutionContext.get_tensor_shape IExecutionContext.set_tensor_address
IExecutionContext.set_device_memory IExecutionContext.execute_async_v3 Refitter.refit_cuda_engine
OnnxParserRefitter.refit_from_file
""".split()
LOOK = """
import sys
from pathlib import Path
from sa.kernels.bindings import load
from sa.runtime.backends.tensorrt_versions import choose_gpus, is_supported, network_flags
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
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(BINDINGS / version), *USED], capture_output=True, text=True, check=True
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("missing")] == []
