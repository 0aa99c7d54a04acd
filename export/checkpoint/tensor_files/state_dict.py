"""State dicts: the table of tensors that PyTorch and PaddlePaddle pickle."""

from collections.abc import Callable

from sa.export.checkpoint.tensor_files.pickle_reader import PickleReadError, shown
from sa.export.checkpoint.tensor_files.stored import FaultError

# Under which names training scripts keep a network's tensors, beside epochs and optimizers.
NESTED = ("state_dict", "model_state_dict", "module", "model", "net", "ema", "ema_state_dict", "model_ema")


def is_average(name: str) -> bool:
    """Whether tensors of this name are the running average of others. Training keeps both."""
    return "ema" in name.lower().split("_")


def checked_state_dict(
    state: object, as_tensor: Callable[[object], object], framework: str
) -> tuple[dict[str, object], tuple[str, ...]]:
    """The tensors of `state`, a dict of them or of dicts, and what to tell the user. FaultError if it is neither."""
    if type(state) is not dict:
        raise FaultError("it does not hold a dict of tensors by name")
    nested, notes = state, ()
    if not any(as_tensor(value) for value in state.values()):
        nested, notes = _nested(state, as_tensor, framework)
    for name in nested:
        if type(name) is not str:
            raise FaultError("a dict in it has a key that is not a name, which no state dict has")
    tensors = {name: as_tensor(value) for name, value in nested.items()}
    for name, tensor in tensors.items():
        if tensor is None:
            raise FaultError(f"its entry '{shown(name)}' is not a tensor")
    return tensors, notes


def _nested(
    state: dict, as_tensor: Callable[[object], object], framework: str
) -> tuple[dict[object, object], tuple[str, ...]]:
    """The one dict of tensors in `state` that is known by its name. `state` itself if there is none."""

    def holds_tensors(value: object) -> bool:
        return type(value) is dict and bool(value) and all(as_tensor(inner) for inner in value.values())

    found = [name for name in NESTED if holds_tensors(state.get(name))]
    weights = [name for name in found if not is_average(name)] or found
    if not weights:
        return state, ()
    if len(weights) > 1:
        raise FaultError(
            f"it holds several tables of tensors: {', '.join(weights)}",
            f"load it with {framework}, save only the one that belongs here and give that file",
        )
    notes = [f"read its '{weights[0]}'"]
    notes += [f"passed over its '{name}', a running average" for name in found if name != weights[0]]
    return state[weights[0]], tuple(notes)


def new_dict(arguments: tuple) -> dict[str, object]:
    if arguments:
        raise PickleReadError("it makes an ordered dict from a value, where an empty one was expected")
    return {}
