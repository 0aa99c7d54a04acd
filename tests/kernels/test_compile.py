"""Compilation of a shipped kernel, and of kernels that must be refused. It needs a process without the interpreter."""

import os
import subprocess
import sys

import pytest

COMPILE = """
import dataclasses, pathlib
from sa.kernels.compile import compile_all
from sa.kernels.temporal_attention.kernel import VARIANTS
variant = dataclasses.replace(VARIANTS[0], {changes})
print(compile_all([variant], (80, 90), pathlib.Path({out!r})))
"""


LEAST_AND_ODD = """
import pathlib, torch
from sa.kernels.compile import compile_variant
from sa.kernels.group_norm_silu.kernel import group_norm_silu
from sa.kernels.id_attention.kernel import id_attention
from sa.kernels.temporal_attention.kernel import temporal_attention
from sa.kernels.variant import Variant

Variant.launch = lambda variant, grid, *arguments: compile_variant(variant, 80, pathlib.Path({out!r}))
for dtype in (torch.float16, torch.float32):
    def tensor(*shape):
        return torch.zeros(shape, dtype=dtype)
    for channels, columns in ((16, 4), (36, 12)):
        id_attention(tensor(2, 1, channels), None, None, tensor(1, channels, columns), None, None, None, None, (0, 1))
    for clip_frames, channels in ((2, 16), (17, 100)):
        temporal_attention(*[tensor(clip_frames, 1, channels)] * 3, clip_frames, 1)
    group_norm_silu(tensor(1, 32, 2), None, None, 1, 1e-5)
"""


def run(cache, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(cache / "cache")}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=kept | environment)


def test_a_kernel_as_shipped(tmp_path):
    out = tmp_path / "out"
    done = run(tmp_path, "-c", COMPILE.format(changes="", out=str(out)))
    assert done.returncode == 0, done.stderr
    name = "temporal_attention_t16_d64_fp16"
    assert {path.name for path in out.iterdir()} == {
        f"{name}.{suffix}" for suffix in ("sm_80.ptx", "sm_80.cubin", "sm_90.cubin")
    }
    ptx = (out / f"{name}.sm_80.ptx").read_text()
    assert ".version 8.0" in ptx and ".target sm_80" in ptx and "kernel.py" not in ptx
    header, row = done.stdout.splitlines()
    assert header.split()[-2:] == ["sm_80", "sm_90"] and row.split()[0] == name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            "warps=1, constants=dict(head_dim=128, head_dim_padded=128, frames_padded=64)",
            "sm_80: expected all values to fit into registers, but",
        ),
        (
            "warps=8, constants=dict(head_dim=256, head_dim_padded=256, frames_padded=128)",
            "sm_80: expected at most 49152 bytes of shared memory, found",
        ),
        (
            "parameters=dict(VARIANTS[0].parameters, frames='i64')",
            "expected temporal_attention_kernel to take u64 u64 u64 u32 u32 u32 u64 and the hidden u64 u64, found u64 "
            "u64 u64 u64 u32 u32 u64 u64 u64",
        ),
    ],
    ids=["spills", "shared memory", "parameters"],
)
def test_a_kernel_that_is_not_as_expected(tmp_path, changes, sentence):
    done = run(tmp_path, "-c", COMPILE.format(changes=changes, out=str(tmp_path)))
    assert done.returncode == 1 and sentence in done.stderr


def test_shapes_the_interpreter_is_tested_at(tmp_path):
    """The interpreter accepts blocks that the compiler refuses, such as products with fewer than 16 columns."""
    done = run(tmp_path, "-c", LEAST_AND_ODD.format(out=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.cubin"))) == 16


def test_in_the_interpreter_nothing_is_compiled(tmp_path):
    done = run(tmp_path, "-m", "sa.kernels", "--out", str(tmp_path / "out"), TRITON_INTERPRET="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sa.kernels: interpreted kernels cannot be compiled; unset TRITON_INTERPRET.\n"
    assert not (tmp_path / "out").exists()
