"""The checks of compiled kernels, on samples of compilers' output."""

import pytest
from ptx_types import entry_types

from sa.kernels.ptx import CodeError, Resources, check_parameters, resources, without_hidden

PTX = """\
.version 8.0
.target sm_80
.visible .entry scale_kernel(
	.param .u64 .ptr .global .align 1 scale_kernel_param_0,
	.param .u32 scale_kernel_param_1,
	.param .u64 .ptr .global .align 1 scale_kernel_param_2,
	.param .u64 .ptr .global .align 1 scale_kernel_param_3,
	.param .u64 .ptr .global .align 1 scale_kernel_param_4
)
.reqntid 128
{
	ld.param.b64 	%rd1, [scale_kernel_param_0];
	ld.param.b32 	%r1, [scale_kernel_param_1];
	ld.param.b64 	%rd2, [scale_kernel_param_2];
	ret;
}
"""
TAKEN = ["u64", "u32", "u64"]
ACCOUNT = """\
ptxas info    : Compiling entry function 'scale_kernel' for 'sm_80'
ptxas info    : Function properties for scale_kernel
    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used 34 registers, used 1 barriers, 416 bytes cmem[0]
"""


def test_expected_parameters():
    check_parameters(PTX, TAKEN)


@pytest.mark.parametrize("expected", [["u64", "u64", "u32"], ["u64", "u32"], ["u64", "u32", "u64", "u64"], []])
def test_other_parameters(expected):
    with pytest.raises(CodeError, match="and the hidden u64 u64, found u64 u32 u64 u64 u64"):
        check_parameters(PTX, expected)


def test_no_hidden_parameters():
    shorter = PTX.replace(",\n\t.param .u64 .ptr .global .align 1 scale_kernel_param_4", "")
    with pytest.raises(CodeError, match=r"found u64 u32 u64 u64$"):
        check_parameters(shorter, TAKEN)


@pytest.mark.parametrize("number", [3, 4])
def test_scratch_memory_that_is_read(number):
    reading = PTX.replace("\tret;", f"\tld.param.b64 \t%rd3, [scale_kernel_param_{number}];\n\tret;")
    with pytest.raises(CodeError, match=f"needs? no scratch memory, but it reads scale_kernel_param_{number}"):
        check_parameters(reading, TAKEN)


@pytest.mark.parametrize(("ptx", "entries"), [("", 0), (PTX + PTX, 2)])
def test_other_entries(ptx, entries):
    with pytest.raises(CodeError, match=f"expected one entry in the PTX, found {entries}"):
        check_parameters(ptx, TAKEN)


def test_hidden_parameters_are_taken_away():
    shorter = without_hidden(PTX)
    assert entry_types(shorter) == TAKEN
    assert "param_3" not in shorter and shorter.splitlines()[-6:] == PTX.splitlines()[-6:]
    assert shorter.count("scale_kernel_param_2") == 2 and "scale_kernel_param_2\n)" in shorter


def test_resources():
    assert resources(ACCOUNT.format(stack=0, stores=0, loads=0), 4096) == Resources(34, 0, 4096)
    assert resources(ACCOUNT.format(stack=8, stores=4, loads=8), 0).spilled == 8


def test_an_account_of_something_else():
    with pytest.raises(CodeError, match="expected ptxas to tell"):
        resources("ptxas warning : nothing to do", 0)
