"""Compares what a loaded engine takes and gives with what the manifest says of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sa.runtime.backends.base import Interface
from sa.runtime.contract import TensorSpec
from sa.runtime.errors import EngineSetError


@dataclass(frozen=True)
class Found:
    """An input or output of a loaded engine. A dimension is None where the engine leaves its size open."""

    name: str
    dtype: str  # as in TensorSpec, or the library's own word
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join('?' if dim is None else str(dim) for dim in self.shape)}]"


def check_interface(path: Path, contract: Interface, inputs: Iterable[Found], outputs: Iterable[Found]) -> None:
    """EngineSetError unless the engine in `path` has the inputs and outputs of its contract, in any order.

    A size that the engine leaves open fits any. Of a range, nothing else does.
    """
    for kind, specs, found in (("input", contract.inputs, inputs), ("output", contract.outputs, outputs)):
        said, there = {spec.name: spec for spec in specs}, {one.name: one for one in found}
        for name in dict.fromkeys((*said, *there)):
            spec, one = said.get(name), there.get(name)
            if spec is None or one is None or not _fits(spec, one):
                promised = "absent" if spec is None else f"{spec.dtype} {_shown(spec)}"
                raise mismatch(path, contract, f"{kind} {name}", promised, "none" if one is None else str(one))


def mismatch(path: Path, contract: Interface, what: str, promised: str, found: str) -> EngineSetError:
    """The error for an engine that differs from its contract in `what`."""
    return EngineSetError(
        f"{path} is not the {contract.role} engine of its manifest: {what} should be {promised}, but found {found}; "
        "rebuild the engine set with sa-export."
    )


def _shown(spec: TensorSpec) -> str:
    dims = (str(dim) if isinstance(dim, int) else f"{dim[0]}-{dim[1]}" for dim in spec.shape)
    return f"[{', '.join(dims)}]"


def _fits(spec: TensorSpec, found: Found) -> bool:
    if found.dtype != spec.dtype or len(found.shape) != len(spec.shape):
        return False
    fixed = (dim if isinstance(dim, int) else dim[0] if dim[0] == dim[1] else None for dim in spec.shape)
    return all(size is None or size == dim for dim, size in zip(fixed, found.shape, strict=True))
