"""The parts of tensorrt and tensorrt.plugin that our plugins use, on top of `evaluation.Size`."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

from evaluation import Evaluator, Size

TENSORRT = SimpleNamespace(float16="half", float32="float")


class SymInt32:
    def __init__(self, of: "int | Size | SymInt32 | None" = None):
        self._expr = of._expr if isinstance(of, SymInt32) else Size(of, True) if isinstance(of, int) else of

    def _with(self, other: "int | SymInt32", compute: Callable[[int, int], int]) -> "SymInt32":
        if self.is_fake:
            return type(self)()
        a, b = self._expr, SymInt32(other)._expr
        return type(self)(Size(compute(a.value, b.value), a.known and b.known))

    def __mul__(self, other: "int | SymInt32") -> "SymInt32":
        return self._with(other, lambda a, b: a * b)

    def __floordiv__(self, other: "int | SymInt32") -> "SymInt32":
        return self._with(other, lambda a, b: a // b)

    @property
    def is_fake(self) -> bool:
        return self._expr is None

    def constant_value(self) -> int:
        return self._expr.get_constant_value()


class ShapeExprs(list):
    def __init__(self, length: int, _is_dummy: bool):
        super().__init__([SymInt32() if _is_dummy else None] * length)


class SymExprs(tuple):
    @classmethod
    def from_tuple(cls, expressions: tuple[SymInt32, ...]) -> "SymExprs":
        return cls(expressions)


@dataclass
class TensorDesc:
    shape_expr: ShapeExprs
    dtype: str

    def like(self) -> "TensorDesc":
        return TensorDesc(self.shape_expr, self.dtype)


class KernelLaunchParams:
    def __init__(self):
        for name in ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z"):
            setattr(self, name, 1)
        self.shared_mem = 0

    def __setattr__(self, name: str, size: int | SymInt32) -> None:
        object.__setattr__(self, name, SymInt32(size))


class Plugins:
    """The module tensorrt.plugin."""

    ShapeExpr = SymInt32 = SymInt32
    ShapeExprs, SymExprs, TensorDesc, KernelLaunchParams = ShapeExprs, SymExprs, TensorDesc, KernelLaunchParams

    def __init__(self):
        self._described: dict[str, Callable] = {}
        self._implemented: dict[str, Callable] = {}

    def register(self, name: str) -> Callable:
        return lambda function: self._described.setdefault(name, function)

    def aot_impl(self, name: str) -> Callable:
        return lambda function: self._implemented.setdefault(name, function)

    def registered(self, name: str) -> tuple[Callable, Callable]:
        return self._described[name], self._implemented[name]

    def cdiv(self, a: SymInt32, b: int | SymInt32) -> SymInt32:
        return a._with(b, lambda a, b: -(-a // b))

    def from_shape_expr(self, sizes: tuple[int | SymInt32, ...], dtype: str) -> TensorDesc:
        return TensorDesc([SymInt32(size) for size in sizes], dtype)


def evaluator() -> Evaluator:
    """An evaluator of our plugins, registered with this stub."""
    from sa.kernels import plugins

    library = Plugins()
    plugins.register(TENSORRT, library)
    return Evaluator(TENSORRT, library, library.registered)
