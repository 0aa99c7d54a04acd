"""What a refinement plan costs in arithmetic and, predicted, in memory."""

import math
from collections.abc import Sequence
from itertools import groupby

from sa.export.engines.window_roles import WindowDefinitions
from sa.runtime.contract import (
    WINDOW_LOSS,
    EngineRecord,
    RefinePlan,
    Segment,
    TensorSpec,
    WindowPlan,
    chain_roles,
    norms_roles,
)


def refine_plan(
    segments: Sequence[Segment],
    engines: Sequence[EngineRecord],
    window: WindowDefinitions | None = None,
) -> RefinePlan:
    """The manifest's account of a plan; without segments the gradient is one engine."""
    by_role = {engine.role: engine for engine in engines}
    if not segments:
        whole = by_role["loss_gradient"]
        return RefinePlan(
            plan="whole",
            segments=(),
            flops=whole.flops,
            bytes=whole.bytes,
            predicted_bytes=whole.working_bytes + whole.weight_bytes,
        )
    return RefinePlan(
        plan="segmented",
        segments=tuple(segments),
        **_chain(segments, by_role["face_loss"], by_role),
        window=None if window is None else _window(window, tuple(segments), by_role),
    )


def _window(window: WindowDefinitions, segments: tuple[Segment, ...], engines: dict[str, EngineRecord]) -> WindowPlan:
    chain = (*segments[: window.whole], *window.segments)
    loss = engines[WINDOW_LOSS]
    facts, chunk = _chain(chain, loss, engines), loss.inputs[0].largest[0]
    weights = sum(engines[role].weight_bytes for role in (WINDOW_LOSS, *chain_roles(chain)))
    finding = [engines[role] for role in norms_roles(window.segments, segments[window.whole :])]
    # Norms are found while no tensor of the gradient is there. An engine's own inputs and outputs are in its figure. Of
    # those by frame, what goes into and comes out of their group exists for all frames.
    held, came = [], 0
    for by_frame, group in groupby(finding, key=lambda one: one.inputs[0].shape[0] == 1):
        *_, last = listed = list(group)
        given = _size(last.outputs[0], chunk)
        between = max(_size(one.inputs[0], 1) for one in listed)
        held += [one.working_bytes + (came + given + between if by_frame else 0) for one in listed]
        came = given
    tensors = max(facts["predicted_bytes"] - weights, *held)
    facts["predicted_bytes"] = tensors + weights + sum(one.weight_bytes for one in finding)
    return WindowPlan(size=window.size, whole=window.whole, segments=window.segments, **facts)


def _chain(segments: Sequence[Segment], loss: EngineRecord, engines: dict[str, EngineRecord]) -> dict[str, int]:
    """What a chain of segments and the loss at its end costs: flops, bytes and predicted bytes."""
    chunk = loss.inputs[0].largest[0]
    calls = {segment.forward: chunk if segment.by_frame else 1 for segment in segments}
    forward = sum(calls[role] * engines[role].flops for role in calls)
    parts = [loss, *(engines[role] for role in chain_roles(tuple(segments)))]
    latents = engines[segments[0].forward].inputs[0]
    frames = engines[segments[-1].forward].outputs[0]
    weights = sum(engines[segment.forward].weight_bytes for segment in segments)
    return dict(
        flops=2 * forward + loss.flops,  # frozen weights: a VJP has the arithmetic of its forward pass
        # As of one engine: latents in, their gradient out, and no frames between.
        bytes=loss.bytes + weights + 2 * _size(latents, chunk) - 2 * _size(frames, chunk),
        predicted_bytes=_peak(segments, engines, chunk) + sum(engine.weight_bytes for engine in parts),
    )


def _peak(segments: Sequence[Segment], engines: dict[str, EngineRecord], chunk: int) -> int:
    """Of kept tensors and the engine at work, over the way there and back."""

    outputs = [_size(engines[segment.forward].outputs[0], chunk) for segment in segments]
    kept = [0, *(size if segment.keep else 0 for segment, size in zip(segments, outputs, strict=True))]
    peak = 0
    for i, segment in enumerate(segments):
        held = sum(kept[: i + 1])
        there = held + engines[segment.forward].working_bytes + outputs[i]
        back = held + engines[segment.vjp].working_bytes + outputs[i]
        if i and not segments[i - 1].keep:  # x is computed again, from its own x
            back += outputs[i - 1]
        peak = max(peak, there, back)
    return peak


def _size(spec: TensorSpec, chunk: int) -> int:
    """Bytes of a tensor for all frames of a chunk."""
    return 4 * chunk * math.prod(spec.largest[1:])
