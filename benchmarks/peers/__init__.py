"""The peer: StableAnimator's networks in PyTorch, put together from diffusers' and transformers' parts.

It is what someone would run who has PyTorch and no engines: the baseline of every table, and an oracle that shares
no network code with the export. Needs the extra `peers`. A peer imports what it runs on when it is opened, never
Paddle, and for an ONNX export not PyTorch either: a measured process holds the peer alone.
"""

from pathlib import Path
from typing import Literal, get_args

from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.backends.base import Engine
from sa.runtime.contract import Role, Shapes
from sa.runtime.errors import UserError

Kind = Literal["eager", "compile", "onnx"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UPSTREAM = "upstream:"  # and the folder of a checkout of the published code


def open_peer(
    kind: str, checkpoint: Path, role: Role, shapes: Shapes, threads: int | None = None, cache: Path | None = None
) -> Engine:
    """One network of the checkpoint folder as an engine with the inputs and outputs of that role's own engine.

    kind: "eager", "compile" (torch.compile as it comes) or "onnx" (torch.onnx.export as it comes, in ONNX Runtime as
    it comes), or "upstream:DIR"; `cache` is the folder an ONNX export is kept in and taken from, needed for that alone.
    `threads` None means every core this process may use; PyTorch knows one number of threads per process.
    """
    _check(kind, cache)
    opened = Checkpoint(checkpoint)
    if kind.startswith(UPSTREAM):
        from sa.benchmarks.peers.upstream import open_upstream

        return open_upstream(Path(kind.removeprefix(UPSTREAM)), opened, role, shapes)
    if kind == "onnx":
        from sa.benchmarks.peers.onnx_engine import open_onnx

        return open_onnx(opened, role, shapes, threads, cache)
    from sa.benchmarks.peers.torch_engine import open_torch

    return open_torch(opened, role, shapes, threads, compiled=kind == "compile")


def prepare(kind: str, checkpoint: Path, role: Role, shapes: Shapes, cache: Path | None = None) -> None:
    """What a peer does once and not at every start: the ONNX export of one network, unless `cache` has it already."""
    _check(kind, cache)
    if kind == "onnx":
        from sa.benchmarks.peers.onnx_engine import exported

        exported(Checkpoint(checkpoint), role, shapes, cache)


def open_loss_gradient(kind: str, checkpoint: Path, shapes: Shapes, threads: int | None = None) -> Engine:
    """The gradient of the face loss by autograd, see `contracts.loss_gradient_contract`; UserError but for "eager"."""
    if kind != "eager":
        name = kind.partition(":")[0]
        raise UserError(
            f"the {name} peer does not offer the loss gradient: take --peer diffusers, run eagerly, for it."
        )
    from sa.benchmarks.peers.contracts import loss_gradient_contract
    from sa.benchmarks.peers.loss_gradient import FaceLoss, LossGradientEngine

    return LossGradientEngine(loss_gradient_contract(shapes), FaceLoss.open(Checkpoint(checkpoint), threads))


def _check(kind: str, cache: Path | None) -> None:
    if kind not in KINDS and not kind.startswith(UPSTREAM):
        raise ValueError(f"unknown peer {kind!r}, expected one of {', '.join(KINDS)}")
    if kind == "onnx" and cache is None:
        raise ValueError("the onnx peer needs a cache folder for its export")
