"""The interface between the runtime and the engine libraries."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, overload

import numpy as np

from sa.runtime.contract import Role, TensorSpec
from sa.runtime.errors import EngineSetError


class Handle(ABC):
    """A float32 tensor in the backend's own memory, such as a GPU's. CPU backends use arrays instead.

    As with an array, len() is the first dimension, and a slice is a view of the same memory.
    """

    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, part: slice) -> "Handle": ...


Tensor = np.ndarray | Handle


def as_array(tensor: Tensor) -> np.ndarray:
    """The tensor as an array; TypeError for a handle."""
    if isinstance(tensor, Handle):
        raise TypeError("this tensor stays with its backend: an array was expected")
    return tensor


class Interface(Protocol):
    """An engine's role, inputs and outputs, as EngineContract and Signature have them."""

    @property
    def role(self) -> Role: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...


class Engine(ABC):
    """One loaded engine. Use it as a context manager, or close it: weights are large.

    A backend implements `_infer` and `close`; this class checks inputs and outputs against the manifest.
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
        """Run once on a tensor for each input name. Returns float32 arrays, and handles for the outputs in `keep`.

        ValueError for a wrong name, shape or dtype, which is a mistake of the caller and not of the user;
        EngineSetError for an output that is not as the manifest says.
        """
        if inputs.keys() != self._inputs.keys():
            raise ValueError(f"{self.contract.role} takes {sorted(self._inputs)}, was given {sorted(inputs)}")
        if unknown := set(keep) - self._outputs.keys():
            raise ValueError(f"{self.contract.role} has no output {sorted(unknown)} to keep")
        for name, value in inputs.items():
            self._check(self._inputs[name], value)
        outputs = self._infer(inputs, keep)
        for name, value in outputs.items():
            spec = self._outputs[name]
            if (found := self._misfit(spec, value)) is not None:
                raise EngineSetError(
                    f"the {self.contract.role} engine gives {name} as {found}, where its manifest has {spec.dtype} "
                    f"{list(spec.shape)}; rebuild the engine set with sa-export."
                )
        return outputs

    def infer_each(self, given: Iterable[Mapping[str, Tensor]]) -> Iterator[dict[str, np.ndarray]]:
        """The outputs for each of the inputs, in their order. An engine on several devices computes some at once."""
        for inputs in given:
            yield self.infer(inputs)

    def infer_into(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Run once and write each output into the tensor given for it, which is contiguous and has its exact shape."""
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
        """A new float32 tensor, contents undefined, that engines of this backend use without a copy."""
        return np.empty(shape, np.float32)

    def unload(self) -> None:  # noqa: B027  most engines stay loaded
        """Free the memory until the next call. Does nothing in engines that cannot load themselves again."""

    def warnings(self) -> tuple[str, ...]:
        """Sentences for the warnings of a run: what the user should know about how this engine runs here."""
        return ()

    def _check(self, spec: TensorSpec, value: Tensor) -> None:
        if (found := self._misfit(spec, value)) is not None:
            raise ValueError(f"{self.contract.role}.{spec.name} is {spec.dtype} {list(spec.shape)}, was given {found}")

    @staticmethod
    def _misfit(spec: TensorSpec, value: Tensor) -> str | None:
        """The tensor's dtype and shape if they are not those of `spec`."""
        dtype = str(value.dtype) if isinstance(value, np.ndarray) else spec.dtype
        fits = dtype == spec.dtype and spec.admits(tuple(value.shape))
        return None if fits else f"{dtype} {list(value.shape)}"

    @abstractmethod
    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]: ...

    @abstractmethod
    def close(self) -> None:
        """Free the engine's memory. The engine cannot be used afterwards."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
