"""The one protocol between the runtime and an engine library."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Protocol, overload

import numpy as np

from sa.runtime.contract import Role, TensorSpec


class Handle(ABC):
    """A float32 tensor that stays with its backend. A CPU backend needs none: there an array is its own handle.

    As of an array, len() is its first dimension, and a slice is a view of a part of it, in the same memory.
    """

    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, part: slice) -> "Handle": ...


Tensor = np.ndarray | Handle


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor of the host's as the array it is; TypeError for a handle."""
    if isinstance(tensor, Handle):
        raise TypeError("this tensor stays with its backend: an array was expected")
    return tensor


class Interface(Protocol):
    """What an engine is called with, whatever it is made of; an EngineContract is one."""

    @property
    def role(self) -> Role: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...


class Engine(ABC):
    """One loaded engine. Use it as a context manager, or close it: weights are large.

    A backend implements `_infer` and `close`; this class holds its inputs and outputs to the manifest.
    """

    def __init__(self, contract: Interface):
        self.contract = contract
        self._inputs = {spec.name: spec for spec in contract.inputs}
        self._outputs = {spec.name: spec for spec in contract.outputs}

    @overload
    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, np.ndarray]: ...
    @overload
    def infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]: ...
    def infer(self, inputs: Mapping[str, Tensor], keep: Collection[str] = ()) -> dict[str, Any]:
        """Run once. `inputs`: a tensor per input name; outputs come back as float32 arrays, those in `keep` as handles.

        ValueError for a name, shape or dtype that is not the engine's: a mistake of the caller, not of the user.
        """
        if inputs.keys() != self._inputs.keys():
            raise ValueError(f"{self.contract.role} takes {sorted(self._inputs)}, was given {sorted(inputs)}")
        if unknown := set(keep) - self._outputs.keys():
            raise ValueError(f"{self.contract.role} has no output {sorted(unknown)} to keep")
        for name, value in inputs.items():
            self._check(self._inputs[name], value)
        outputs = self._infer(inputs, keep)
        for name, value in outputs.items():
            self._check(self._outputs[name], value)
        return outputs

    def infer_into(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Run once and write every output into the tensor given for it: contiguous, of exactly its shape."""
        if outputs.keys() != self._outputs.keys():
            raise ValueError(f"{self.contract.role} has outputs {sorted(self._outputs)}, not {sorted(outputs)}")
        for given, specs in ((inputs, self._inputs), (outputs, self._outputs)):
            for name, value in given.items():
                self._check(specs[name], value)
        self._infer_into(inputs, outputs)

    def _infer_into(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        for name, value in self._infer(inputs, ()).items():
            np.copyto(as_array(outputs[name]), as_array(value))

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """A float32 tensor for results, where engines of this backend work on them without a copy."""
        return np.empty(shape, np.float32)

    def unload(self) -> None:  # noqa: B027  most engines keep what they have loaded
        """Told that this engine is not needed for a while: one that can load itself again gives up its memory."""

    def warnings(self) -> tuple[str, ...]:
        """What the user should know of how this engine runs here: sentences, for the warnings of a run."""
        return ()

    def _check(self, spec: TensorSpec, value: Tensor) -> None:
        dtype = str(value.dtype) if isinstance(value, np.ndarray) else spec.dtype
        if dtype != spec.dtype or not spec.admits(tuple(value.shape)):
            raise ValueError(
                f"{self.contract.role}.{spec.name} is {spec.dtype} {list(spec.shape)}, "
                f"was given {dtype} {list(value.shape)}"
            )

    @abstractmethod
    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]: ...

    @abstractmethod
    def close(self) -> None:
        """Release the engine's memory; it cannot be used afterwards."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
