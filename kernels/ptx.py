"""Reads compiled kernels: the parameters of the entry from PTX, registers and spills from the output of ptxas."""

import re
from dataclasses import dataclass

HIDDEN = ("u64", "u64")  # pointers to scratch memory, which Triton appends to every kernel's parameters
ENTRY = re.compile(r"\.visible \.entry (?P<name>\w+)\((?P<parameters>[^)]*)\)")
PARAMETER = re.compile(r"\.param \.(?P<type>\w+)[^,]*?(?P<name>\w+)\s*(?:,|$)")


class CodeError(Exception):
    """A kernel was not compiled as expected; the message is one sentence."""


@dataclass(frozen=True)
class Resources:
    """The registers and spilled bytes that a kernel uses per thread, and its shared memory per program."""

    registers: int
    spilled: int  # bytes
    shared: int  # bytes


def check_parameters(ptx: str, expected: list[str]) -> None:
    """CodeError unless the PTX has one entry, which takes these types and two hidden parameters that it never reads."""
    entries = list(ENTRY.finditer(ptx))
    if len(entries) != 1:
        raise CodeError(f"expected one entry in the PTX, found {len(entries)}")
    name = entries[0]["name"]
    parameters = list(PARAMETER.finditer(entries[0]["parameters"]))
    found = [parameter["type"] for parameter in parameters]
    if found != [*expected, *HIDDEN]:
        raise CodeError(
            f"expected {name} to take {' '.join(expected)} and the hidden {' '.join(HIDDEN)}, found {' '.join(found)}"
        )
    for parameter in parameters[-len(HIDDEN) :]:
        if len(re.findall(rf"\b{parameter['name']}\b", ptx)) > 1:
            raise CodeError(f"expected {name} to need no scratch memory, but it reads {parameter['name']}")


def without_hidden(ptx: str) -> str:
    """Remove the hidden parameters from checked PTX: a launch must pass every parameter that the entry lists."""
    entry = ENTRY.search(ptx)
    last_shown = list(PARAMETER.finditer(entry["parameters"]))[-len(HIDDEN) - 1]
    start, end = entry.span("parameters")
    shown = entry["parameters"][: last_shown.end()].rstrip().rstrip(",")
    return f"{ptx[:start]}{shown}\n{ptx[end:]}"


def resources(printed: str, shared: int) -> Resources:
    """Registers and spills from what `ptxas -v` printed of one kernel; shared memory comes from Triton."""
    registers = re.findall(r"Used (\d+) registers", printed)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", printed)
    if len(registers) != 1 or len(spills) != 1:
        raise CodeError(f"expected ptxas to tell the registers and spills of one kernel, found: {printed!r}")
    return Resources(int(registers[0]), max(map(int, spills[0])), shared)
