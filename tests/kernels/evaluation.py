"""Evaluates plugins as TensorRT does when it builds: types first, then shapes, then the ahead-of-time implementation.

It works with a `tensorrt.plugin` of our own (stub_tensorrt.py), and with NVIDIA's bindings on stub libraries
(bindings.py). With the latter, the Python half, which checks signatures and makes the expressions, is the real one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Input:
    """An input of a plugin. Sizes in brackets in `shape` differ between calls, such as the number of frames."""

    element: str  # fp16, fp32
    shape: tuple[int | list[int], ...]


@dataclass(frozen=True)
class Evaluated:
    """The launch that TensorRT would make, and the outputs that it would allocate."""

    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    entry: str
    ptx: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    scalars: tuple[int, ...]


class Size:
    """A size, as the native half represents it. Only the value of a constant size may be asked for."""

    def __init__(self, value: int, known: bool):
        self.value, self.known = value, known

    def is_constant(self) -> bool:
        return self.known

    def get_constant_value(self) -> int:
        assert self.known, "the size changes from call to call"
        return self.value


class Evaluator:
    """Plugins of one library. `registered` returns the functions that describe and implement a plugin, by name."""

    def __init__(self, trt: ModuleType, trtp: ModuleType, registered: Callable[[str], tuple[Callable, Callable]]):
        self.trt, self.trtp = trt, trtp
        self._registered = registered

    def __call__(self, name: str, inputs: list[Input], **attributes: object) -> Evaluated:
        describe, implement = self._registered(f"sa::{name}")
        elements = {"fp16": self.trt.float16, "fp32": self.trt.float32}
        names = {kind: element for element, kind in elements.items()}

        def described(shapes: list) -> list:
            found = describe(*self._descriptions(shapes, [elements[one.element] for one in inputs]), **attributes)
            return list(found) if isinstance(found, tuple) else [found]

        types = [names[one.dtype] for one in described([[None] * len(one.shape) for one in inputs])]
        shapes = [
            [Size(*((size[0], False) if isinstance(size, list) else (size, True))) for size in one.shape]
            for one in inputs
        ]
        outputs = described(shapes)
        entry, ptx, parameters, scalars = implement(
            *self._descriptions(shapes, [elements[one.element] for one in inputs]),
            *attributes.values(),
            tuple(outputs),
            0,
        )

        def at(prefix: str) -> tuple[int, ...]:
            return tuple(value(getattr(parameters, f"{prefix}_{axis}")) for axis in "xyz")

        return Evaluated(
            tuple((kind, tuple(map(value, one.shape_expr))) for kind, one in zip(types, outputs, strict=True)),
            entry,
            ptx,
            at("grid"),
            at("block"),
            value(parameters.shared_mem),
            tuple(map(value, scalars)),
        )

    def _descriptions(self, shapes: list, kinds: list) -> list:
        made = []
        for shape, kind in zip(shapes, kinds, strict=True):
            sizes = self.trtp.ShapeExprs(len(shape), _is_dummy=None in shape)
            if None not in shape:
                for i, size in enumerate(shape):
                    sizes[i] = self.trtp.ShapeExpr(size)
            made.append(self.trtp.TensorDesc(sizes, kind))
        return made


def value(expression: object) -> int:
    """The value of a symbolic expression."""
    return expression._expr.value
