"""What is read from compiled kernels: the entry's parameters from PTX, registers and spills from ptxas's account."""

import re
from dataclasses import dataclass

HIDDEN = ("u64", "u64")  # scratch memory, which Triton appends to every kernel's parameters
ENTRY = re.compile(r"\.visible \.entry (?P<name>\w+)\((?P<parameters>[^)]*)\)")
PARAMETER = re.compile(r"\.param \.(?P<type>\w+)[^,]*?(?P<name>\w+)\s*(?:,|$)")


class CodeError(Exception):
    """A kernel was not compiled to what is expected: one sentence."""


@dataclass(frozen=True)
class Resources:
    """What a kernel takes of a multiprocessor, per thread and, in shared memory, per program."""

    registers: int
    spilled: int  # bytes
    shared: int  # bytes


def check_parameters(ptx: str, expected: list[str]) -> None:
    """Fail unless the only entry takes parameters of these PTX types, then the two hidden ones, which nothing reads."""
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
    """Checked PTX without the hidden parameters, for who passes none: a launch reads as many as the entry lists."""
    entry = ENTRY.search(ptx)
    last_shown = list(PARAMETER.finditer(entry["parameters"]))[-len(HIDDEN) - 1]
    start, end = entry.span("parameters")
    shown = entry["parameters"][: last_shown.end()].rstrip().rstrip(",")
    return f"{ptx[:start]}{shown}\n{ptx[end:]}"


def entry_types(ptx: str) -> list[str]:
    """The PTX types of the only entry's parameters, in their order."""
    (entry,) = ENTRY.finditer(ptx)
    return [parameter["type"] for parameter in PARAMETER.finditer(entry["parameters"])]


def resources(account: str, shared: int) -> Resources:
    """Registers and spills of the only kernel in what `ptxas -v` printed; shared memory is Triton's to tell."""
    registers = re.findall(r"Used (\d+) registers", account)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", account)
    if len(registers) != 1 or len(spills) != 1:
        raise CodeError(f"expected ptxas to tell the registers and spills of one kernel, found: {account!r}")
    return Resources(int(registers[0]), max(map(int, spills[0])), shared)
