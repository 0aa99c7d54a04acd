"""The engines of a window of the refinement: the decoder's later segments, and what norms do in the whole frame."""

from collections.abc import Callable
from dataclasses import dataclass, field

import paddle
from paddle import nn

from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.refinement_roles import (
    DECODER_PARTS,
    SMALL,
    DecoderSegmentEngine,
    DecoderVjpEngine,
    FaceLossEngine,
    arcface_config,
    segment_keeps,
)
from sa.export.engines.roles import EngineDefinition, spec
from sa.export.networks.vae import DecoderSegment as DecoderPiece
from sa.export.networks.vae import VaeDecoder
from sa.export.networks.window import SegmentNorms
from sa.export.networks.window import WindowSegment as WindowPiece
from sa.runtime.contract import WINDOW_LOSS, Shapes, TensorSpec, WindowSegment

LAST_WHOLE = "mid_attention"  # attention needs the whole frame, and so do the segments before it


@dataclass(frozen=True)
class WindowDefinitions:
    """The engines of a window, how its segments follow each other, and where it begins."""

    size: int  # pixels along a side
    whole: int  # segments before the window
    engines: tuple[EngineDefinition, ...]
    segments: tuple[WindowSegment, ...]


def window_definitions(size: int, checkpoint: Checkpoint) -> WindowDefinitions:
    """The definitions of a window of `size` pixels."""
    with paddle.LazyGuard():
        pieces = VaeDecoder(checkpoint.vae).segments()
    whole = first_in_window(pieces)
    engines: list[EngineDefinition] = []
    segments: list[WindowSegment] = []
    for i, piece in enumerate(pieces[whole:], whole):
        common = dict(parts=DECODER_PARTS, last=False, affordable=SMALL, index=i, piece=piece)
        forward = WindowSegmentEngine(f"window_{piece.name}", **common, size=size)
        vjp = WindowVjpEngine(f"window_{piece.name}_vjp", **common, size=size)
        engines += [forward, vjp]
        norms = SegmentNormsEngine(f"norms_{piece.name}", **common) if piece.norms else None
        engines += [norms] if norms is not None else []
        found = norms.role if norms is not None else None
        keep = segment_keeps(piece, len(pieces) - 1 - i)
        segments.append(
            WindowSegment(forward=forward.role, vjp=vjp.role, by_frame=piece.by_frame, keep=keep, norms=found)
        )
    parts = {"recogniser.": "arcface"}
    loss = WindowLossEngine(WINDOW_LOSS, parts, kinked=True, arcface=arcface_config(checkpoint), size=size)
    return WindowDefinitions(size, whole, (loss, *engines), tuple(segments))


def first_in_window(pieces: list[DecoderPiece]) -> int:
    """The index of the first segment that runs on the window."""
    names = [piece.name for piece in pieces]
    return names.index(LAST_WHOLE) + 1 if LAST_WHOLE in names else names.index("up_0_0_spatial")


def _side(size: int, shapes: Shapes) -> int:
    """The window's side in pixels; an engine's twin of reduced shapes has a smaller one."""
    return min(size, shapes.height, shapes.width)


@dataclass(frozen=True)
class WindowSegmentEngine(DecoderSegmentEngine):
    """A segment x -> y of the decoder on the window, its norms given."""

    size: int = field(kw_only=True)

    def inputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        norms = (spec("norms", 1, 2 * sum(self.piece.norms)),) if self.piece.norms else ()
        return (*super().inputs(checkpoint, shapes), *norms)

    def method(self, network: nn.Layer) -> Callable:
        return WindowPiece(network, self.index).forward

    def latents(self, shapes: Shapes) -> tuple[int, int]:
        return (_side(self.size, shapes) // 8,) * 2


@dataclass(frozen=True)
class WindowVjpEngine(WindowSegmentEngine, DecoderVjpEngine):
    """Its VJP (x, norms, dy) -> dx. What the norms do counts as constant."""


@dataclass(frozen=True)
class WindowLossEngine(FaceLossEngine):
    """The face loss of a window's frames, and its gradient with respect to them."""

    size: int = field(kw_only=True)

    def pixels(self, shapes: Shapes) -> tuple[int, int]:
        return (_side(self.size, shapes),) * 2


@dataclass(frozen=True)
class SegmentNormsEngine(DecoderSegmentEngine):
    """A segment x -> y of the decoder on the whole frame, and what its norms do there."""

    def outputs(self, checkpoint: Checkpoint, shapes: Shapes) -> tuple[TensorSpec, ...]:
        return (*super().outputs(checkpoint, shapes), spec("norms", 1, 2 * sum(self.piece.norms)))

    def method(self, network: nn.Layer) -> Callable:
        return SegmentNorms(network, self.index).forward
