"""Compiles kernels to PTX and cubins, checks their parameters and reports the resources they use. Needs no GPU.

PTX is written for sm_80, in a version that drivers since CUDA 11.1 can read. It runs on that architecture and all later
ones. A cubin is for one architecture.
"""

import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from sa.kernels.ptx import CodeError, Resources, check_parameters, resources, without_hidden
from sa.kernels.variant import Variant

PORTABLE = 80  # the architecture of portable PTX: from 90 on, Triton's PTX runs on that architecture only
PTX_VERSION = 80  # 8.0
CAPABILITIES = (75, PORTABLE, 86, 89, 90, 100, 120)
SHARED_WITHOUT_OPT_IN = 48 << 10  # bytes per program; more needs an opt-in, which loaders may not make


@dataclass(frozen=True)
class Compiled:
    """A kernel's PTX, after a check of its parameters."""

    entry: str
    ptx: str
    shared: int  # bytes per program
    threads: int  # per program


def to_ptx(variant: Variant, capability: int = PORTABLE) -> Compiled:
    """Compile a kernel for an architecture, hidden parameters included. CodeError for unexpected parameters."""
    from triton import compile as triton_compile
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    knobs.compilation.disable_line_info = True  # it would contain this machine's paths
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
    """Compile a kernel for sm_80 and later, without hidden parameters, as plans need it. CodeError as above."""
    compiled = to_ptx(variant)
    _check_shared(compiled)
    return replace(compiled, ptx=without_hidden(compiled.ptx))


def _check_shared(compiled: Compiled) -> None:
    if compiled.shared > SHARED_WITHOUT_OPT_IN:
        raise CodeError(f"expected at most {SHARED_WITHOUT_OPT_IN} bytes of shared memory, found {compiled.shared}")


def compile_variant(variant: Variant, capability: int, out: Path) -> Resources:
    """Write OUT/NAME.sm_XX.cubin, and OUT/NAME.sm_80.ptx for sm_80. Returns the resources; CodeError for spills."""
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
                "--regAllocOptLevel=2",  # as in Triton's own calls of ptxas
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
    """Compile each variant for each architecture, several at once. Returns a table of the resources they use."""
    out.mkdir(parents=True, exist_ok=True)
    variants, capabilities = list(variants), list(capabilities)

    def resources_taken(variant: Variant, capability: int) -> str:
        try:
            taken = compile_variant(variant, capability, out)
        except CodeError as error:
            raise CodeError(f"{variant.name}, sm_{capability}: {error}") from None
        return f"{taken.registers}/{taken.spilled}/{taken.shared / 1024:.1f}"

    rows = [["registers / bytes spilled / KiB shared", *(f"sm_{capability}" for capability in capabilities)]]
    pool = ThreadPoolExecutor()  # the compiler's passes and ptxas run outside of Python's lock
    try:
        waiting = [[pool.submit(resources_taken, variant, one) for one in capabilities] for variant in variants]
        for variant, cells in zip(variants, waiting, strict=True):
            rows.append([variant.name, *(cell.result() for cell in cells)])
    finally:
        pool.shutdown(cancel_futures=True)  # of what is left after an error
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
