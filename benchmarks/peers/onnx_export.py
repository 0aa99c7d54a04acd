"""The process that exports one peer network: python -m sa.benchmarks.peers.onnx_export CHECKPOINT ROLE SHAPES FILE."""

import logging
import sys
import warnings
from pathlib import Path

import torch

from sa.benchmarks.peers.contracts import exported_contract
from sa.benchmarks.peers.load import network
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.runtime.contract import Role, Shapes, Signature
from sa.runtime.errors import UserError


def export(checkpoint: Checkpoint, role: Role, shapes: Shapes, path: Path) -> None:
    """Run torch.onnx.export with its defaults. Weights go beside the file; ranges in shapes become dynamic axes."""
    interface = exported_contract(role, checkpoint, shapes)
    batch = {span: torch.export.Dim("batch", min=span[0], max=span[1]) for span in _spans(interface)}
    ranges = tuple(
        {axis: batch[size] for axis, size in enumerate(spec.shape) if not isinstance(size, int) and size[0] < size[1]}
        for spec in interface.inputs
    )
    torch.onnx.export(
        network(role, checkpoint),
        tuple(torch.zeros(spec.largest) for spec in interface.inputs),
        path,
        input_names=[spec.name for spec in interface.inputs],
        output_names=[spec.name for spec in interface.outputs],
        dynamic_shapes=ranges if any(ranges) else None,
        external_data=True,  # a UNet of 6 GB fits into no single ONNX file
        verbose=False,
    )


def _spans(interface: Signature) -> set[tuple[int, int]]:
    return {size for spec in interface.inputs for size in spec.shape if not isinstance(size, int)}


if __name__ == "__main__":
    # When this fails, sa-bench shows the last line on stderr. Warnings about other libraries do not belong there.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    folder, role_name, sizes, target = sys.argv[1:]
    try:
        export(Checkpoint(Path(folder)), role_name, Shapes.model_validate_json(sizes), Path(target))
    except UserError as error:
        sys.exit(str(error))
