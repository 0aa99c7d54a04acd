"""Peers: StableAnimator's networks from parts of diffusers and transformers in PyTorch, or of ppdiffusers in Paddle.

A peer is what someone with PyTorch or PaddleMIX and no engines would run. It is the baseline of every table, and an
oracle that shares no network code with the export. PyTorch's need the extra `peers`, ppdiffusers an environment of its
own.

A peer imports its library when it is opened. PyTorch's never import Paddle, and an ONNX export runs without PyTorch, so
a measured process holds nothing but the peer.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sa.runtime.errors import UserError

if TYPE_CHECKING:
    from sa.runtime.backends.base import Engine
    from sa.runtime.contract import Role, Shapes

# Ways to run PyTorch, and torch.onnx.export; "-fp16" converts weights and activations to fp16.
KINDS = ("eager", "compile", "graph", "eager-fp16", "compile-fp16", "graph-fp16", "onnx")
PPDIFFUSERS = "ppdiffusers"
UPSTREAM = "upstream:"  # followed by the folder of a checkout of the published code
REFERENCE = "reference"  # not measured: the float32 networks, whose outputs others are compared with


def open_peer(
    kind: str,
    checkpoint: Path,
    role: "Role",
    shapes: "Shapes",
    threads: int | None = None,
    cache: Path | None = None,
    device: str = "cpu",
) -> "Engine":
    """One network of the checkpoint folder as an engine, with the inputs and outputs of that role's exported engine.

    kind: "eager"; "compile", torch.compile with its defaults; "graph", torch.compile with CUDA graphs, on a GPU alone;
    each of them with "-fp16" behind it; "onnx", torch.onnx.export and ONNX Runtime with their defaults; "ppdiffusers",
    which opens in the Python of its environment alone; or "upstream:DIR". `cache` is the folder that keeps ONNX
    exports; only "onnx" needs it. `threads` None means every core this process may use. PyTorch has one number of
    threads per process. UserError if `device`, "cpu" or "cuda", is not one that the peer can run on here.
    """
    _check(kind, cache)
    from sa.export.checkpoint.checkpoint import Checkpoint

    opened = Checkpoint(checkpoint)
    if kind.startswith(UPSTREAM):
        from sa.benchmarks.peers.upstream import open_upstream

        return open_upstream(Path(kind.removeprefix(UPSTREAM)), opened, role, shapes)
    if kind == PPDIFFUSERS:
        from sa.benchmarks.peers.ppdiffusers_engine import open_ppdiffusers

        return open_ppdiffusers(opened, role, shapes, threads, device)
    if kind == "onnx":
        from sa.benchmarks.peers.onnx_engine import open_onnx

        return open_onnx(opened, role, shapes, threads, cache, device)
    from sa.benchmarks.peers.torch_engine import open_torch

    way, _, precision = kind.partition("-")
    return open_torch(opened, role, shapes, threads, way, precision == "fp16", device)


def prepare(kind: str, checkpoint: Path, role: "Role", shapes: "Shapes", cache: Path | None = None) -> None:
    """Export one network to ONNX, unless `cache` has it already. Other kinds have nothing to prepare."""
    _check(kind, cache)
    if kind == "onnx":
        from sa.benchmarks.peers.onnx_engine import exported
        from sa.export.checkpoint.checkpoint import Checkpoint

        exported(Checkpoint(checkpoint), role, shapes, cache)


def open_loss_gradient(
    kind: str, checkpoint: Path, shapes: "Shapes", threads: int | None = None, device: str = "cpu"
) -> "Engine":
    """The gradient of the face loss by autograd (`contracts.loss_gradient_contract`); UserError except for "eager"."""
    if kind != "eager":
        name = kind.partition(":")[0]
        raise UserError(
            f"the {name} peer does not offer the loss gradient: take --peer diffusers, run eagerly, for it."
        )
    from sa.benchmarks.peers.contracts import loss_gradient_contract
    from sa.benchmarks.peers.loss_gradient import FaceLoss, LossGradientEngine
    from sa.export.checkpoint.checkpoint import Checkpoint

    face_loss = FaceLoss.open(Checkpoint(checkpoint), threads, device)
    return LossGradientEngine(loss_gradient_contract(shapes), face_loss)


def _check(kind: str, cache: Path | None) -> None:
    if kind not in (*KINDS, PPDIFFUSERS) and not kind.startswith(UPSTREAM):
        raise ValueError(f"unknown peer {kind!r}, expected one of {', '.join((*KINDS, PPDIFFUSERS))}")
    if kind == "onnx" and cache is None:
        raise ValueError("the onnx peer needs a cache folder for its export")
