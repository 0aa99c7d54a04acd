"""The engines of cached deep features: the UNet that also gives its deep feature, and the shallow one that takes it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from paddle import nn

from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.roles import (
    BRANCHES,
    EngineDefinition,
    SpecializedUNetEngine,
    UNetEngine,
    spec,
)
from sa.export.engines.specialize import specialize
from sa.export.networks.deep_features import KeepingUNet, ShallowUNet, deep_shape, deepest
from sa.runtime.contract import DEEP, SHALLOW, Shapes, TensorSpec
from sa.runtime.errors import InputError


def with_cache(
    definitions: Iterable[EngineDefinition], depth: int, checkpoint: Checkpoint
) -> tuple[EngineDefinition, ...]:
    """The definitions of a specialized set, with two engines in the place of the UNet, cut at `depth`.

    InputError if the UNet has too few layers for it.
    """
    if depth > (most := deepest(checkpoint.unet)):
        raise InputError(f"--cache-depth must be 1 to {most} for the UNet of this checkpoint, not {depth}.")
    return tuple(part for one in definitions for part in (_cut(one, depth) if one.role == "unet" else (one,)))


def _cut(unet: EngineDefinition, depth: int) -> tuple[EngineDefinition, EngineDefinition]:
    common = dict(parts=unet.parts, own_weights=True, affordable=unet.affordable, helpers=unet.helpers, depth=depth)
    keeping = PlainKeepingUNetEngine("unet", unet.parts, depth=depth)
    shallow = PlainShallowUNetEngine(SHALLOW, unet.parts, depth=depth)
    return (
        KeepingUNetEngine("unet", **common, stands_for=keeping),
        ShallowUNetEngine(SHALLOW, **common, stands_for=shallow, shares="unet"),
    )


@dataclass(frozen=True)
class _CutUNetEngine(UNetEngine):
    depth: int = field(kw_only=True)

    def _deep(self, checkpoint: Checkpoint, shapes: Shapes) -> TensorSpec:
        size = deep_shape(checkpoint.unet, self.depth, shapes.latent_height, shapes.latent_width)
        return spec(DEEP, BRANCHES, shapes.tile_size, *size)


class PlainKeepingUNetEngine(_CutUNetEngine):
    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (*super().outputs(checkpoint, shapes), self._deep(checkpoint, shapes))

    def method(self, network: nn.Layer) -> Callable:
        return KeepingUNet(network, network.embed, self.depth).forward


class KeepingUNetEngine(PlainKeepingUNetEngine, SpecializedUNetEngine):
    def method(self, network: nn.Layer) -> Callable:
        cached = specialize(network).unet
        return KeepingUNet(cached.unet, cached.embed, self.depth).forward


class PlainShallowUNetEngine(_CutUNetEngine):
    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (*super().inputs(checkpoint, shapes), self._deep(checkpoint, shapes))

    def method(self, network: nn.Layer) -> Callable:
        return ShallowUNet(network, network.embed, self.depth).forward


class ShallowUNetEngine(PlainShallowUNetEngine, SpecializedUNetEngine):
    """Takes the inputs of the specialized UNet whole, and reads its share of what they pack."""

    def method(self, network: nn.Layer) -> Callable:
        cached = specialize(network).unet
        return ShallowUNet(cached.unet, cached.embed, self.depth).forward
