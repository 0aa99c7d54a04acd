"""State dicts: the table of tensors that PyTorch and PaddlePaddle pickle."""

from collections.abc import Callable

from sa.export.checkpoint.tensor_files.pickle_reader import PickleReadError, shown
from sa.export.checkpoint.tensor_files.stored import FaultError


def checked_state_dict(state: object, as_tensor: Callable[[object], object], framework: str) -> dict[str, object]:
    """The tensors of `state`, if it is a flat dict of them. Otherwise FaultError says what it is instead."""
    if type(state) is not dict:
        raise FaultError("it does not hold a dict of tensors by name")
    for key in ("state_dict", "module", "model"):
        inner = state.get(key)
        if type(inner) is dict and inner and all(as_tensor(value) for value in inner.values()):
            raise FaultError(
                f"the network's tensors lie one level down, under '{key}'",
                f"load it with {framework}, save only its '{key}' and give that file",
            )
    tensors = {name: as_tensor(value) for name, value in state.items()}
    for name, tensor in tensors.items():
        if tensor is None:
            raise FaultError(f"its entry '{shown(name)}' is not a tensor")
    return tensors


def new_dict(arguments: tuple) -> dict[str, object]:
    if arguments:
        raise PickleReadError("it makes an ordered dict from a value, where an empty one was expected")
    return {}
