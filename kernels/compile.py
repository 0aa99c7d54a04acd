"""A kernel as PTX and as cubins, its parameters checked and its resources told.

Needs no GPU. PTX is written for sm_80, in a version that drivers since CUDA 11.1 read, and runs on that and any later
architecture; cubins are for one architecture each.
"""

import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from sa.kernels.ptx import CodeError, Resources, check_parameters, resources, without_hidden
from sa.kernels.variant import Variant

PORTABLE = 80  # the architecture PTX is kept of: from 90 on, Triton's PTX runs on nothing else
PTX_VERSION = 80  # 8.0
CAPABILITIES = (75, PORTABLE, 86, 89, 90, 100, 120)
UNASKED = 48 << 10  # bytes of shared memory that a kernel gets without asking, as whoever loads the PTX may not know to


@dataclass(frozen=True)
class Compiled:
    """A kernel as PTX, its parameters checked."""

    entry: str
    ptx: str
    shared: int  # bytes per program
    threads: int  # per program


def to_ptx(variant: Variant, capability: int = PORTABLE) -> Compiled:
    """The kernel for an architecture, hidden parameters included."""
    from triton import compile as triton_compile
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    knobs.compilation.disable_line_info = True  # it would hold this machine's paths
    names = variant.function.arg_names
    aligned = [name for name, kind in variant.parameters.items() if kind[0] == "*" or name in variant.multiples_of_16]
    source = ASTSource(
        variant.function,
        signature={name: variant.parameters.get(name, "constexpr") for name in names},
        constexprs=variant.constants,
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    version = {"ptx_version": PTX_VERSION} if capability == PORTABLE else {}
    compiled = triton_compile(source, GPUTarget("cuda", capability, 32), {**variant.options, **version})
    ptx = compiled.asm["ptx"]
    check_parameters(ptx, variant.ptx_types)
    return Compiled(compiled.metadata.name, ptx, compiled.metadata.shared, 32 * variant.warps)


def portable(variant: Variant) -> Compiled:
    """The kernel for sm_80 and whatever comes later, without hidden parameters: as engines take it."""
    compiled = to_ptx(variant)
    _check_shared(compiled)
    return replace(compiled, ptx=without_hidden(compiled.ptx))


def _check_shared(compiled: Compiled) -> None:
    if compiled.shared > UNASKED:
        raise CodeError(f"expected at most {UNASKED} bytes of shared memory, found {compiled.shared}")


def compile_variant(variant: Variant, capability: int, out: Path) -> Resources:
    """Write OUT/NAME.sm_80.ptx, for that architecture, and OUT/NAME.sm_XX.cubin; returns what the kernel takes."""
    from triton.backends.nvidia.compiler import get_ptxas, sm_arch_from_capability

    compiled = to_ptx(variant, capability)
    with tempfile.TemporaryDirectory() as scratch:
        folder = out if capability == PORTABLE else Path(scratch)
        text = folder / f"{variant.name}.sm_{capability}.ptx"
        text.write_text(compiled.ptx)
        assembled = subprocess.run(
            [
                get_ptxas(capability).path,
                "-v",
                "--regAllocOptLevel=2",  # as Triton assembles what it launches
                f"--gpu-name={sm_arch_from_capability(capability)}",
                f"--output-file={out / f'{variant.name}.sm_{capability}.cubin'}",
                text,
            ],
            capture_output=True,
            text=True,
        )
    if assembled.returncode:
        raise CodeError(f"ptxas refused the PTX: {' '.join(assembled.stderr.split())}")
    found = resources(assembled.stderr, compiled.shared)
    if found.spilled:
        raise CodeError(f"expected all values to fit into registers, but {found.spilled} bytes are spilled")
    if capability == PORTABLE:
        _check_shared(compiled)
    return found


def compile_all(variants: Iterable[Variant], capabilities: Iterable[int], out: Path) -> str:
    """Compile each variant for each architecture; returns the table of what they take."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [["registers / bytes spilled / KiB shared", *(f"sm_{capability}" for capability in capabilities)]]
    for variant in variants:
        row = [variant.name]
        for capability in capabilities:
            try:
                taken = compile_variant(variant, capability, out)
            except CodeError as error:
                raise CodeError(f"{variant.name}, sm_{capability}: {error}") from None
            row.append(f"{taken.registers}/{taken.spilled}/{taken.shared / 1024:.1f}")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
