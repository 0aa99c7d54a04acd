"""Small stand-ins of what the pack takes of ComfyUI and PyTorch. They refuse what the real ones do not know."""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class Tensor:
    """A CPU tensor: NumPy sees the same numbers."""

    def __init__(self, array: np.ndarray):
        self._array = array

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> np.ndarray:
        return self._array


def image(pictures: np.ndarray) -> Tensor:
    """uint8 pictures as an IMAGE or MASK."""
    return Tensor(pictures.astype(np.float32) / 255)


class InterruptProcessingException(Exception):  # noqa: N818  ComfyUI's name
    pass


@dataclass
class Input:
    id: str
    optional: bool = False
    tooltip: str | None = None
    kind: str = ""


@dataclass
class Widget(Input):
    default: Any = None


@dataclass
class Number(Widget):
    min: float | None = None
    max: float | None = None
    step: float | None = None


@dataclass
class Int(Number):
    control_after_generate: bool = False


@dataclass
class Combo(Widget):
    options: list[str] = field(default_factory=list)


@dataclass
class Output:
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False
    kind: str = ""


@dataclass
class Schema:
    node_id: str
    display_name: str
    category: str
    description: str
    inputs: list[Input]
    outputs: list[Output]


class ComfyNode:
    pass


class NodeOutput:
    def __init__(self, *args: object):
        self.args = args


def kind(name: str, of: type[Input] = Input) -> SimpleNamespace:
    """A type of the API, with its Input and Output."""
    return SimpleNamespace(
        Input=lambda id, **facts: of(id, kind=name, **facts), Output=lambda **facts: Output(kind=name, **facts)
    )


class ComfyUI:
    """What a test sees and decides: the progress that was shown, and whether the user interrupts."""

    def __init__(self) -> None:
        self.progress: list[tuple[int, int]] = []
        self.previews: list[Any] = []
        self.checks = 0
        self.interrupt_at: int | None = None  # that check, counted from 1, and all later ones

    def check(self) -> None:
        self.checks += 1
        if self.interrupt_at is not None and self.checks >= self.interrupt_at:
            raise InterruptProcessingException

    def modules(self) -> dict[str, ModuleType]:
        async def set_progress(execution, value, max_value, node_id=None, preview_image=None, ignore_size_limit=False):
            self.progress.append((value, max_value))
            if preview_image is not None:
                self.previews.append(preview_image)

        async def on_load(extension):
            pass

        io = SimpleNamespace(
            ComfyNode=ComfyNode,
            NodeOutput=NodeOutput,
            Schema=Schema,
            Custom=kind,
            Image=kind("IMAGE"),
            Mask=kind("MASK"),
            Boolean=kind("BOOLEAN", Widget),
            String=kind("STRING", Widget),
            Int=kind("INT", Int),
            Float=kind("FLOAT", Number),
            Combo=kind("COMBO", Combo),
        )
        api = {
            "io": io,
            "ComfyExtension": type("ComfyExtension", (), {"on_load": on_load}),
            "ComfyAPI": type("ComfyAPI", (), {"Execution": type("Execution", (), {"set_progress": set_progress})}),
        }
        management = {"throw_exception_if_processing_interrupted": self.check}
        return {
            "comfy_api": module("comfy_api"),
            "comfy_api.v0_0_2": module("comfy_api.v0_0_2", **api),
            "comfy": module("comfy"),
            "comfy.model_management": module("comfy.model_management", **management),
            "torch": module("torch", Tensor=Tensor, from_numpy=Tensor),
        }


def module(name: str, **contents: object) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(contents)
    return made


@contextlib.contextmanager
def loaded(pack: Path, comfyui: ComfyUI) -> Iterator[ModuleType]:
    """The pack in custom_nodes, imported under its path, as ComfyUI does it."""
    name = str(pack).replace(".", "_x_")
    modules = comfyui.modules()
    before = {one: sys.modules[one] for one in modules if one in sys.modules}
    sys.modules.update(modules)
    try:
        spec = importlib.util.spec_from_file_location(name, pack / "__init__.py")
        assert spec is not None and spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules[name] = made
        spec.loader.exec_module(made)
        yield made
    finally:
        for one in [one for one in sys.modules if one in modules or one.startswith(name)]:
            del sys.modules[one]
        sys.modules.update(before)
