"""A published checkpoint folder: its configs, its files, and its tensors after a check that they fit the networks."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sa.export.checkpoint.architecture import (
    FeatureExtractorConfig,
    ImageEncoderConfig,
    SchedulerConfig,
    UNetConfig,
    VaeConfig,
)
from sa.export.checkpoint.tensor_files import StoredTensor, TensorFile, open_tensor_file
from sa.export.checkpoint.tensor_files.pickle_reader import shown
from sa.runtime.contract import SourceFile
from sa.runtime.errors import InputError
from sa.runtime.system import hashing
from sa.runtime.system.regular_files import require_regular

Part = Literal["unet", "pose_net", "face_encoder", "vae", "image_encoder", "arcface"]

# The folders where Stable Video Diffusion's files may be: as published, or as downloads leave them.
SVD_FOLDERS = ("SVD", "stable-video-diffusion-img2vid-xt", "SVD/stable-video-diffusion-img2vid-xt")
# The files where a part's weights may be, in order of preference: published, or saved by diffusers or ppdiffusers.
_PADDLE_SAFETENSORS = "diffusion_paddle_model.safetensors"
_DIFFUSERS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    _PADDLE_SAFETENSORS,
    "model_state.pdparams",
    "diffusion_pytorch_model.fp16.safetensors",
)
_TRANSFORMERS = ("model.safetensors", "pytorch_model.bin", "model_state.pdparams", "model.fp16.safetensors")
_ANIMATION = ("{}.safetensors", "{}.pth", "{}.pdparams", "{}/model_state.pdparams")
IGNORED_SUFFIXES = ("num_batches_tracked", "position_ids")  # counters and indices, not weights
PADDLE_NAMES = {"_mean": "running_mean", "_variance": "running_var", "_weight": "weight"}  # BatchNorm, PReLU


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
        self._transposed = transposed  # stored in Paddle's layout: Linear weights [in, out]

    def __contains__(self, name: str) -> bool:
        return name in self._slots

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all parameters, in Paddle's layout."""
        return {name: slot.shape[::-1] if slot.linear else slot.shape for name, slot in self._slots.items()}

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
        return value.T if self._slots[name].linear and not self._transposed else value

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
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: give --checkpoint the folder with SVD/ and Animation/.")
        self.folder = folder
        self.svd = self._svd_folder()
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
        self._files: dict[Part, tuple[Path, TensorFile]] = {}

    def _svd_folder(self) -> Path:
        folders = [self.folder / name for name in SVD_FOLDERS if (self.folder / name).is_dir()]
        if not folders:
            raise InputError(
                f"{self.folder} holds no folder {' or '.join(SVD_FOLDERS)}: a checkpoint needs Stable Video "
                "Diffusion's feature_extractor, image_encoder, scheduler, unet and vae there."
            )
        # If none has the config, the error names the first folder.
        return next((folder for folder in folders if (folder / "unet" / "config.json").is_file()), folders[0])

    def _locate(self, part: Part) -> Path:
        if part == "vae":
            places = [self.svd / "vae" / name for name in _DIFFUSERS]
        elif part == "image_encoder":
            places = [self.svd / "image_encoder" / name for name in _TRANSFORMERS]
        else:
            stem = "glintr100_torch" if part == "arcface" else part
            places = [self.folder / "Animation" / name.format(stem) for name in _ANIMATION]
        for place in places:
            require_regular(place)
            if place.is_file():
                return place
        raise InputError(
            f"{places[0]} is missing: the checkpoint needs the {part} weights there "
            f"(or as {', '.join(str(place.relative_to(places[0].parent)) for place in places[1:])})."
        )

    def tensors(self, part: Part) -> TensorFile:
        """The tensors of a part by name, not read yet. Paddle's names of BatchNorm statistics become PyTorch's."""
        if part not in self._files:
            path = self._locate(part)
            self._files[part] = path, _pytorch_names(open_tensor_file(path))
        return self._files[part][1]

    def path(self, part: Part) -> Path:
        self.tensors(part)
        return self._files[part][0]

    def weights(self, part: Part, slots: Mapping[str, Slot]) -> Weights:
        """The weights of a part, for networks that together have these slots. InputError names what does not fit."""
        path, tensors = self.path(part), self.tensors(part)
        missing = [name for name in slots if name not in tensors]
        if missing:
            raise InputError(f"{path} lacks the tensor {missing[0]}{_and_more(missing)}: {self._mismatch}")
        surplus = [name for name in tensors if name not in slots and not name.endswith(IGNORED_SUFFIXES)]
        if surplus:
            raise InputError(
                f"{path} holds the tensor {shown(surplus[0])}{_and_more(surplus)} that the network does not have: "
                f"{self._mismatch}"
            )
        transposed = _is_transposed(path, tensors, slots)
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

    @property
    def _mismatch(self) -> str:
        return f"these weights and the configs in {self.svd} do not belong together; use those of one checkpoint."

    def sources(self) -> Iterator[SourceFile]:
        """Every file opened so far, configs included, with its hash."""
        configs = (
            "unet/config.json",
            "vae/config.json",
            "image_encoder/config.json",
            "scheduler/scheduler_config.json",
            "feature_extractor/preprocessor_config.json",
        )
        for path in [*(self.svd / name for name in configs), *(path for path, _ in self._files.values())]:
            yield SourceFile(
                path=path.relative_to(self.folder).as_posix(), bytes=path.stat().st_size, sha256=hashing.sha256(path)
            )


def _pytorch_names(tensors: TensorFile) -> TensorFile:
    renamed: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        stem, _, leaf = name.rpartition(".")
        renamed[f"{stem}.{PADDLE_NAMES[leaf]}" if stem and leaf in PADDLE_NAMES else name] = tensor
    return TensorFile(renamed, tensors.forget)


def _is_transposed(path: Path, tensors: Mapping[str, StoredTensor], slots: Mapping[str, Slot]) -> bool:
    """Whether Linear weights are stored in Paddle's layout, [in, out].

    The shapes of weights that are not square decide. A VAE has only square ones; there the file's name decides.
    """
    uneven = [name for name, slot in slots.items() if slot.linear and slot.shape[0] != slot.shape[1]]
    as_paddle = sum(tensors[name].shape == slots[name].shape[::-1] for name in uneven)
    as_torch = sum(tensors[name].shape == slots[name].shape for name in uneven)
    if as_paddle == as_torch:
        return path.suffix == ".pdparams" or path.name == _PADDLE_SAFETENSORS
    return as_paddle > as_torch


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
