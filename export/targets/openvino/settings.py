"""Whether sa-export's flags and this machine allow engines for OpenVINO."""

import argparse

from sa.runtime.backends.libraries import LIBRARY_OF, OPENVINO_OLDEST, backend_version, release
from sa.runtime.errors import InputError


def check_openvino(a: argparse.Namespace) -> None:
    """InputError unless OpenVINO is installed, and this CPU can certify what --precision asks for by running it."""
    install = f"`pip install 'stableanimator-deploy[{LIBRARY_OF['openvino'].extra}]'`"
    version = backend_version("openvino")
    if version is None:
        raise InputError(f"--backend openvino needs OpenVINO, which is not installed: {install}.")
    if release(version) < OPENVINO_OLDEST:
        oldest = ".".join(map(str, OPENVINO_OLDEST))
        raise InputError(f"--backend openvino needs OpenVINO {oldest} or later, but {version} is installed: {install}.")
    if a.precision == "bf16":
        from sa.runtime.backends.openvino import computes_bf16

        if not computes_bf16():
            raise InputError(
                "--precision bf16 is certified by running it, and this CPU has no instructions for bfloat16 "
                "(avx512_bf16 or AMX): export on a CPU that has them, or give --precision fp32."
            )
