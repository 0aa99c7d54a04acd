"""A published checkpoint folder: its configs, its files, and its tensors after a check that they fit the networks."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sa.export.checkpoint.architecture import (
    FeatureExtractorConfig,
    ImageEncoderConfig,
    SchedulerConfig,
    UNetConfig,
    VaeConfig,
)
from sa.export.checkpoint.names import network_names
from sa.export.checkpoint.places import Part, Places
from sa.export.checkpoint.tensor_files import TensorFile, open_tensor_file
from sa.export.checkpoint.tensor_files.pickle_reader import shown
from sa.runtime.contract import SourceFile
from sa.runtime.errors import InputError
from sa.runtime.system import hashing

__all__ = ["Checkpoint", "Part", "Slot", "Weights"]

IGNORED_SUFFIXES = ("num_batches_tracked", "position_ids")  # counters and indices, not weights
ADAPTER = ".processor.id_to_k."  # in the names of StableAnimator's UNet alone


@dataclass(frozen=True)
class Slot:
    """A parameter a network expects, its shape in PyTorch's layout; Paddle transposes Linear weights, [in, out]."""

    shape: tuple[int, ...]
    linear: bool


class Weights:
    """The tensors of one part, whose names and shapes were checked against its networks."""

    def __init__(self, part: Part, file: Path, tensors: TensorFile, slots: Mapping[str, Slot], transposed: bool):
        self.part = part
        self._file = file
        self._tensors = tensors
        self._slots = slots
        self.transposed = transposed  # stored in Paddle's layout: Linear weights [in, out]

    def __contains__(self, name: str) -> bool:
        return name in self._slots

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all parameters, in Paddle's layout."""
        return {name: slot.shape[::-1] if slot.linear else slot.shape for name, slot in self._slots.items()}

    @property
    def types(self) -> set[str]:
        """The types its values are stored in, such as "float16"."""
        return {self._tensors[name].dtype for name in self._slots}

    def read(self, name: str) -> np.ndarray:
        """The parameter `name` as float32 in Paddle's layout, a view if possible. InputError unless finite."""
        value = self._tensors[name].read()
        if not np.isfinite(value).all():
            raise InputError(
                f"{self._file}: tensor {name} holds NaN or infinite values, so the file is damaged; "
                "take a fresh copy of it."
            )
        if not value.shape:
            return value.reshape(1)
        return value.T if self._slots[name].linear and not self.transposed else value

    def each(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Names and values of parameters, one at a time; the file's memory pages are released after each."""
        for name in names:
            yield name, self.read(name)
            self.forget()

    def forget(self) -> None:
        """Release the file's memory pages read so far."""
        self._tensors.forget()


class Checkpoint:
    """A checkpoint folder, opened, with its configs. InputError if one is missing or unsuitable."""

    def __init__(self, folder: Path):
        self._places = Places(folder)
        self.folder, self.svd = self._places.root, self._places.svd
        self.unet = UNetConfig.read(self.svd / "unet" / "config.json")
        self.vae = VaeConfig.read(self.svd / "vae" / "config.json")
        self.image_encoder = ImageEncoderConfig.read(self.svd / "image_encoder" / "config.json")
        self.scheduler = SchedulerConfig.read(self.svd / "scheduler" / "scheduler_config.json")
        self.feature_extractor = FeatureExtractorConfig.read(
            self.svd / "feature_extractor" / "preprocessor_config.json"
        )
        if self.image_encoder.projection_dim != self.unet.cross_attention_dim:
            raise InputError(
                f"{self.svd / 'image_encoder' / 'config.json'} has projection_dim {self.image_encoder.projection_dim}, "
                f"but the UNet's cross_attention_dim is {self.unet.cross_attention_dim}: they must be equal; "
                "use configs of one checkpoint."
            )
        self._paths: dict[Part, Path] = {}
        self._files: dict[Part, TensorFile] = {}

    def tensors(self, part: Part) -> TensorFile:
        """The tensors of a part by the network's names, not read yet."""
        if part not in self._files:
            self._files[part] = network_names(open_tensor_file(self.path(part)), part)
        return self._files[part]

    def path(self, part: Part) -> Path:
        """The weight file of a part, or its index."""
        if part not in self._paths:
            self._paths[part] = self._places.weights(part)
        return self._paths[part]

    def files(self, part: Part) -> tuple[Path, ...]:
        """The files that a part lies in, as far as they were found: one, or an index and its shards."""
        if part in self._files:
            return self._files[part].paths
        return (self._paths[part],) if part in self._paths else ()

    @property
    def notes(self) -> list[str]:
        """What was found elsewhere or read otherwise than as published, for the user."""
        read = [f"{self._paths[part]}: {note}" for part, tensors in self._files.items() for note in tensors.notes]
        return [*self._places.notes, *read]

    def weights(self, part: Part, slots: Mapping[str, Slot]) -> Weights:
        """The weights of a part, for networks that together have these slots. InputError names what does not fit."""
        path, tensors = self.path(part), self.tensors(part)
        missing = [name for name in slots if name not in tensors]
        if part == "unet" and missing and all(".processor." in name for name in missing):
            raise self._no_adapters(path, missing)
        if missing:
            raise InputError(f"{path} lacks the tensor {missing[0]}{_and_more(missing)}: {self._mismatch}")
        surplus = [name for name in tensors if name not in slots and not name.endswith(IGNORED_SUFFIXES)]
        if surplus:
            raise InputError(
                f"{path} holds the tensor {shown(surplus[0])}{_and_more(surplus)} that the network does not have: "
                f"{self._mismatch}"
            )
        transposed = _is_transposed(tensors, slots)
        for name, slot in slots.items():
            expected = slot.shape[::-1] if slot.linear and transposed else slot.shape
            found = tensors[name].shape or (1,)  # ppdiffusers saves a single number with shape []
            if found != expected:
                raise InputError(
                    f"{path}: tensor {name} has shape {list(tensors[name].shape)}, expected {list(expected)}: "
                    f"{self._mismatch}"
                )
            if not tensors[name].dtype.startswith(("float", "bfloat")):
                raise InputError(
                    f"{path}: tensor {name} holds {tensors[name].dtype} values, expected floats; "
                    "take a fresh copy of the file."
                )
        return Weights(part, path, tensors, slots, transposed)

    def _no_adapters(self, path: Path, missing: list[str]) -> InputError:
        others = [other for other in self._places.every("unet") if other != path and _has_adapters(other)]
        where = f"{others[0]}, which has them" if others else "StableAnimator's own, published as Animation/unet.pth"
        return InputError(
            f"{path} is a UNet of Stable Video Diffusion without ID adapters, as it lacks {missing[0]}"
            f"{_and_more(missing)}: give {where}, in its place."
        )

    @property
    def _mismatch(self) -> str:
        return f"these weights and the configs in {self.svd} do not belong together; use those of one checkpoint."

    def sources(self) -> Iterator[SourceFile]:
        """Every file opened so far, configs and shards included, with its hash."""
        configs = (
            "unet/config.json",
            "vae/config.json",
            "image_encoder/config.json",
            "scheduler/scheduler_config.json",
            "feature_extractor/preprocessor_config.json",
        )
        weights = [path for tensors in self._files.values() for path in tensors.paths]
        for path in [*(self.svd / name for name in configs), *weights]:
            yield SourceFile(
                path=path.relative_to(self.folder).as_posix(), bytes=path.stat().st_size, sha256=hashing.sha256(path)
            )


def _has_adapters(path: Path) -> bool:
    try:
        return any(ADAPTER in name for name in open_tensor_file(path))
    except InputError:
        return False


def _is_transposed(tensors: TensorFile, slots: Mapping[str, Slot]) -> bool:
    """Whether Linear weights are stored in Paddle's layout, [in, out].

    The shapes of weights that are not square decide. A VAE has only square ones; there it counts who wrote the file.
    """
    uneven = [name for name, slot in slots.items() if slot.linear and slot.shape[0] != slot.shape[1]]
    as_paddle = sum(tensors[name].shape == slots[name].shape[::-1] for name in uneven)
    as_torch = sum(tensors[name].shape == slots[name].shape for name in uneven)
    if as_paddle == as_torch:
        return tensors.by_paddle
    return as_paddle > as_torch


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
