"""The peer: StableAnimator's networks in PyTorch, put together from diffusers' and transformers' parts.

It is what someone would run who has PyTorch and no engines: the baseline of every table, and an oracle that shares
no network code with the export. Needs the extra `peers`. A peer imports what it runs on when it is opened, never
Paddle, and for an ONNX export not PyTorch either: a measured process holds the peer alone.
"""

from pathlib import Path
from typing import Literal, get_args

from sa.export.checkpoint import Checkpoint
from sa.runtime.backends.base import Engine
from sa.runtime.engine_set import Role, Shapes

Kind = Literal["eager", "compile", "onnx"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def open_peer(
    kind: Kind, checkpoint: Path, role: Role, shapes: Shapes, threads: int | None = None, cache: Path | None = None
) -> Engine:
    """One network of the checkpoint folder as an engine with the inputs and outputs of that role's own engine.

    kind: "eager", "compile" (torch.compile as it comes) or "onnx" (torch.onnx.export as it comes, in ONNX Runtime as
    it comes); `cache` is the folder an ONNX export is kept in and taken from, needed by that kind alone.
    `threads` None means every core this process may use; PyTorch knows one number of threads per process.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown peer {kind!r}, expected one of {', '.join(KINDS)}")
    opened = Checkpoint(checkpoint)
    if kind == "onnx":
        from sa.benchmarks.peers.onnx_engine import open_onnx

        if cache is None:
            raise ValueError("the onnx peer needs a cache folder for its export")
        return open_onnx(opened, role, shapes, threads, cache)
    from sa.benchmarks.peers.torch_engine import open_torch

    return open_torch(opened, role, shapes, threads, compiled=kind == "compile")
