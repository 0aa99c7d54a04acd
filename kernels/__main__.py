"""Compile every kernel to PTX and cubins for every architecture, and tell what each takes of a GPU; needs none."""

import argparse
import os
import sys
from pathlib import Path

from sa.kernels.compile import CAPABILITIES, compile_all
from sa.kernels.ptx import CodeError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sa.kernels", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where PTX, cubins and table.txt go")
    out = parser.parse_args(argv).out
    if os.environ.get("TRITON_INTERPRET", "0") != "0":
        print("sa.kernels: interpreted kernels cannot be compiled; unset TRITON_INTERPRET.", file=sys.stderr)
        return 1
    try:
        from sa.kernels.group_norm_silu import kernel as group_norm_silu
        from sa.kernels.id_attention import kernel as id_attention
        from sa.kernels.temporal_attention import kernel as temporal_attention
    except ModuleNotFoundError as error:
        print(
            f"sa.kernels: {error.name} is missing; pip install 'stableanimator-deploy[kernels]'.",
            file=sys.stderr,
        )
        return 1

    kernels = (id_attention, temporal_attention, group_norm_silu)
    try:
        table = compile_all([variant for kernel in kernels for variant in kernel.VARIANTS], CAPABILITIES, out)
    except CodeError as error:
        print(f"sa.kernels: {error}.", file=sys.stderr)
        return 1
    (out / "table.txt").write_text(table + "\n")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
