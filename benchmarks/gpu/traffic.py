"""Counts what engine sets for ONNX Runtime read and write: nodes and bytes of a call, by engine."""

import argparse
from pathlib import Path

import onnx

from sa.export.onnx.cost import onnx_traffic
from sa.runtime.console.commands import run_command
from sa.runtime.console.progress import Reporter
from sa.runtime.engine_set.verify import read_manifest
from sa.runtime.errors import InputError

DESCRIPTION = """\
Count the nodes of every engine, and the bytes that they read and write if each node runs by itself, at the largest
batch. Views are not counted, nor what is computed from weights alone. A library fuses more as it loads a program.
"""


def run(arguments: argparse.Namespace) -> None:
    counted = {folder: traffic(folder) for folder in arguments.engines}
    first, *others = counted.values()
    rows = [
        [role, *(text for one in counted.values() for text in (str(one[role][0]), f"{one[role][1] / 2**20:.0f}"))]
        for role in first
        if all(role in one for one in others)
    ]
    columns = ["engine", *(text for folder in counted for text in (f"{folder.name}: nodes", "MiB"))]
    Reporter().table("nodes, and what they read and write", columns, rows)


def traffic(folder: Path) -> dict[str, tuple[int, int]]:
    """Nodes and bytes by role; InputError for a set whose programs are not ONNX's. Weight files are not read."""
    manifest, _ = read_manifest(folder)
    if manifest.backend != "onnxruntime":
        raise InputError(f"{folder} was made with {manifest.backend}: give engine sets for ONNX Runtime.")
    found = {}
    for engine in manifest.engines:
        program = onnx.load(folder / engine.program, load_external_data=False)
        dims = [(dim, largest) for one in engine.inputs for dim, largest in zip(one.shape, one.largest, strict=True)]
        batch = max((largest for dim, largest in dims if not isinstance(dim, int)), default=1)
        found[engine.role] = onnx_traffic(program, batch)
    return found


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("traffic", description=DESCRIPTION)
    parser.add_argument("engines", type=Path, nargs="+", metavar="DIR", help="engine sets; columns beside each other")
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command("traffic", parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
