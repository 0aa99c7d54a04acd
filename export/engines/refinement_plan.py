"""What a refinement plan costs in arithmetic and, predicted, in memory."""

import math
from collections.abc import Sequence

from sa.export.engines.refinement_roles import RefinePlanName
from sa.runtime.contract import EngineRecord, RefinePlan, Segment, TensorSpec


def refine_plan(plan: RefinePlanName, segments: Sequence[Segment], engines: Sequence[EngineRecord]) -> RefinePlan:
    """The manifest's account of a plan."""
    by_role = {engine.role: engine for engine in engines}
    if plan == "whole":
        whole = by_role["loss_gradient"]
        return RefinePlan(
            plan=plan,
            segments=(),
            flops=whole.flops,
            bytes=whole.bytes,
            predicted_bytes=whole.working_bytes + whole.weight_bytes,
        )
    ends = [by_role["face_loss"]]
    chunk = max(by_role[segment.forward].inputs[0].largest[0] for segment in segments)
    calls = {segment.forward: chunk if segment.by_frame else 1 for segment in segments}
    forward = sum(calls[role] * by_role[role].flops for role in calls)
    parts = [*ends, *(by_role[role] for segment in segments for role in (segment.forward, segment.vjp))]
    latents = by_role[segments[0].forward].inputs[0]
    frames = by_role[segments[-1].forward].outputs[0]
    weights = sum(by_role[segment.forward].weight_bytes for segment in segments)
    return RefinePlan(
        plan=plan,
        segments=tuple(segments),
        flops=2 * forward + ends[0].flops,  # frozen weights: a VJP has the arithmetic of its forward pass
        # As of one engine: latents in, their gradient out, and no frames between.
        bytes=ends[0].bytes + weights + 2 * _size(latents, chunk) - 2 * _size(frames, chunk),
        predicted_bytes=_peak(segments, by_role, chunk) + sum(engine.weight_bytes for engine in parts),
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
