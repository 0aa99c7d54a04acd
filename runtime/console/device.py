"""--device-id: which of several GPUs a command uses, whatever library runs on it. Not run on a GPU yet."""

import argparse
import os

from sa.runtime.errors import InputError
from sa.runtime.system.child import seeing

ORDER = "CUDA_DEVICE_ORDER"
MOST = 999


def add_device_id(group: argparse._ActionsContainer, only: str = "") -> None:
    """Add the flag. `only`: what it is for, if not for all that the command does."""
    group.add_argument(
        "--device-id",
        type=int,
        metavar="N",
        help=f"{only}use GPU N, counted as nvidia-smi does, of those in CUDA_VISIBLE_DEVICES (default: the first)",
    )


def use_gpu(number: int) -> None:
    """Let this process see one GPU alone. Called before any library looks at them."""
    if not 0 <= number <= MOST:
        raise InputError(f"--device-id must be 0 to {MOST}, not {number}.")
    os.environ.update(seeing([number]))
    os.environ.setdefault(ORDER, "PCI_BUS_ID")  # nvidia-smi's order; CUDA's own puts the fastest first


def chosen_device(arguments: argparse.Namespace) -> str | None:
    """What --device and --device-id say together: "cpu", "cuda", or None if they leave it open."""
    if arguments.device_id is None:
        return arguments.device
    if arguments.device == "cpu":
        raise InputError("--device-id is the number of a GPU: leave out --device cpu.")
    use_gpu(arguments.device_id)
    return "cuda"
