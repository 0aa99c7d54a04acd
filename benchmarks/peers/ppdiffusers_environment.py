"""The environment of the ppdiffusers peer, which `make install-ppdiffusers` makes.

ppdiffusers needs packages at versions that diffusers excludes. So its worker is started with another Python.
"""

import subprocess
from pathlib import Path

from sa.runtime.errors import InputError

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-ppdiffusers"
PYTHON = ENVIRONMENT / "bin" / "python"
DONE = ENVIRONMENT / "installed"  # written when everything is installed

ASK = "from importlib.metadata import version as v; print(f\"{v('ppdiffusers')}, Paddle {v('paddlepaddle')}\")"


def require_ppdiffusers() -> None:
    """InputError if the environment is not there."""
    if not DONE.is_file():
        raise InputError(
            f"--peer ppdiffusers needs an environment of its own, which is not ready in {ENVIRONMENT}: make it with "
            "`make install-ppdiffusers` in a checkout of the project; it takes 2.4 GB."
        )


def installed_version() -> str:
    """Of ppdiffusers and its Paddle; InputError if the environment's Python cannot tell."""
    try:
        return subprocess.run([PYTHON, "-c", ASK], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        raise InputError(
            f"{ENVIRONMENT} is damaged, as its Python cannot tell the version of ppdiffusers: remove that folder and "
            "run `make install-ppdiffusers`."
        ) from None
