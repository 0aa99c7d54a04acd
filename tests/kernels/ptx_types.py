"""The parameters of a compiled kernel, for the tests to compare."""

from sa.kernels.ptx import ENTRY, PARAMETER


def entry_types(ptx: str) -> list[str]:
    """The PTX types of the parameters of the only entry, in order."""
    (entry,) = ENTRY.finditer(ptx)
    return [parameter["type"] for parameter in PARAMETER.finditer(entry["parameters"])]
