"""What sa-bench times call by call: an engine, the gradient of the face loss, or the UNet as a run uses it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType

import numpy as np

from sa.benchmarks.fixtures.face_inputs import LOSS_GRADIENT, loss_gradient_inputs
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.plain_calls import plain_call, plain_inputs
from sa.runtime.backends.base import Engine
from sa.runtime.backends.composed.specialized_unet import LATENTS
from sa.runtime.backends.video_unet import VideoConditions, VideoUNet
from sa.runtime.contract import Manifest
from sa.runtime.engine_set.open import EngineSource

FIXED = 20250101  # the key of the inputs on which loss gradients are compared
Arrays = Mapping[str, np.ndarray]


class Subject(ABC):
    frames: int  # that one call works on: the UNet's tile, the decoder's chunk, otherwise one

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> Arrays:
        """New random inputs, of the largest shapes."""

    @abstractmethod
    def call(self, inputs: Arrays) -> object:
        """What is timed."""

    @abstractmethod
    def fixed_outputs(self) -> Arrays:
        """What it computes from inputs that are the same for every contender, for the accuracy column."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> "Subject":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EngineSubject(Subject):
    """One engine, or the chain of engines that makes the gradient of the face loss."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.frames = engine.contract.inputs[0].largest[0]

    def draw(self, generator: np.random.Generator) -> Arrays:
        contract = self._engine.contract
        if contract.role == LOSS_GRADIENT:
            return loss_gradient_inputs(contract, generator)
        return {spec.name: generator.standard_normal(spec.largest, np.float32) for spec in contract.inputs}

    def call(self, inputs: Arrays) -> object:
        return self._engine.infer(inputs)

    def fixed_outputs(self) -> Arrays:
        contract = self._engine.contract
        if contract.role == LOSS_GRADIENT:
            return self._engine.infer(self.draw(np.random.Generator(np.random.Philox(key=FIXED))))
        return self._engine.infer(fixed_inputs(contract.inputs))

    def close(self) -> None:
        self._engine.close()


class UNetSubject(Subject):
    """The UNet within one video, both branches: each call is a step of one tile. The first call begins the video."""

    def __init__(self, unet: VideoUNet, manifest: Manifest):
        self._unet = unet
        self._inputs = plain_inputs(manifest)
        self._begun = False
        self.frames = manifest.shapes.tile_size

    def draw(self, generator: np.random.Generator) -> Arrays:
        return {spec.name: generator.standard_normal(spec.largest, np.float32) for spec in self._inputs}

    def call(self, inputs: Arrays) -> object:
        if not self._begun:
            image, tokens = inputs["sample"][:, 0, LATENTS:], inputs["encoder_hidden_states"]
            self._unet.begin_video(VideoConditions(image, tokens, inputs["added_time_ids"]))
            self._begun = True
        self._unet.begin_step(inputs["timestep"][0])
        return self._unet.velocity(inputs["sample"][:1, :, :LATENTS], inputs["pose_latents"][:1])

    def fixed_outputs(self) -> Arrays:
        return {"velocity": plain_call(self._unet, fixed_inputs(self._inputs))}

    def close(self) -> None:
        self._unet.close()


def open_subject(contender: EngineSource, subject: str) -> Subject:
    """Of a role, or "loss_gradient"."""
    if subject == LOSS_GRADIENT:
        return EngineSubject(contender.open_loss_gradient())
    if subject == "unet":
        return UNetSubject(contender.open_unet(), contender.manifest)
    return EngineSubject(contender.open_single(subject))
