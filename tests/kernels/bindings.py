"""NVIDIA's Python bindings of TensorRT with stub libraries that do nothing, for machines without a GPU.

The tensorrt-cu12-bindings wheels have the Python half of `tensorrt.plugin`. To import them takes only nine symbols of
the libraries. `make test-kernels` puts the wheels into .cache/tensorrt-bindings, in a folder for each version.
"""

import ctypes
import operator
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from evaluation import Evaluator, Size

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
SYMBOLS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getNvOnnxParserVersion"),
    *("getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins"),
)


class Registry:
    """TensorRT's plugin registry."""

    def __init__(self):
        self.creators: dict[tuple[str, str], object] = {}

    def register_creator(self, creator: object, namespace: str) -> None:
        self.creators[namespace, creator.name] = creator

    def get_creator(self, name: str, version: str, namespace: str) -> object:
        assert version == "1"
        return self.creators[namespace, name]


class Builder:
    """TensorRT's IExprBuilder."""

    def __init__(self, operations: object):
        self._operations = {
            operations.SUM: operator.add,
            operations.PROD: operator.mul,
            operations.FLOOR_DIV: operator.floordiv,
            operations.CEIL_DIV: lambda a, b: -(-a // b),
        }

    def constant(self, value: int) -> Size:
        return Size(value, True)

    def operation(self, kind: object, a: Size, b: Size) -> Size:
        return Size(self._operations[kind](a.value, b.value), a.known and b.known)


def load(folder: Path) -> SimpleNamespace:
    """Import `tensorrt` and `tensorrt.plugin` from a folder. Once per process, before any other TensorRT."""
    (package,) = (path for path in folder.iterdir() if path.name == "tensorrt_bindings")
    needed = subprocess.run(["readelf", "-d", package / "tensorrt.so"], capture_output=True, text=True, check=True)
    version = next(word.rpartition(".")[2].rstrip("]") for word in needed.stdout.split() if "libnvinfer.so." in word)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "stub.c"
        source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
        for library in LIBRARIES:
            name = f"lib{library}.so.{version}"
            path = Path(scratch) / name
            subprocess.run(["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", source, "-o", path], check=True)
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)  # the bindings find it by its name
        sys.path.insert(0, str(folder))
        import tensorrt_bindings

    sys.modules["tensorrt"] = tensorrt_bindings  # as the wheel tensorrt-cu12 names it
    import tensorrt.plugin as trtp

    return SimpleNamespace(trt=tensorrt_bindings, trtp=trtp)


def evaluator(folder: Path) -> Evaluator:
    """An evaluator of our plugins, registered with the bindings in a folder."""
    from sa.kernels import plugins

    loaded = load(folder)
    trt, registry = loaded.trt, Registry()
    trt.get_plugin_registry = lambda: registry
    trt.IDimensionExpr = Size  # the type that the native half uses
    from tensorrt.plugin import _lib, _tensor

    _tensor.SymIntExpr._exprBuilder = Builder(trt.DimensionOperation)
    plugins.register(trt, loaded.trtp)

    def registered(name: str) -> tuple:
        namespace, _, plain = name.partition("::")
        assert registry.get_creator(plain, "1", namespace)
        return _lib.QDP_REGISTRY[name].register_func, _lib.QDP_REGISTRY[name].aot_impl_func

    return Evaluator(trt, loaded.trtp, registered)
