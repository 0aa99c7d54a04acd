"""The names of tensors, as the networks have them: without what frameworks and wrappers make of them."""

from sa.export.checkpoint.tensor_files import TensorFile
from sa.export.checkpoint.tensor_files.state_dict import is_average

PADDLE_NAMES = {"_mean": "running_mean", "_variance": "running_var", "_weight": "weight"}  # BatchNorm, PReLU
# What DistributedDataParallel, torch.compile and Lightning put before every name.
WRAPPERS = ("module", "_orig_mod", "model")


def network_names(tensors: TensorFile, part: str) -> TensorFile:
    """`tensors` by the network's names: PyTorch's, without a wrapper that all share, and without running averages."""
    notes = []
    kept = [name for name in tensors if not is_average(name.partition(".")[0])] or list(tensors)
    if len(kept) < len(tensors):
        notes.append(f"passed over {len(tensors) - len(kept)} tensors of running averages")
    prefix = ""
    while (wrapper := _shared_wrapper([name[len(prefix) :] for name in kept], part)) is not None:
        prefix += f"{wrapper}."
    if prefix:
        notes.append(f"took '{prefix}' off the names of all tensors")
    return tensors.renamed({name: _by_pytorch(name[len(prefix) :]) for name in kept}, tuple(notes))


def _shared_wrapper(names: list[str], part: str) -> str | None:
    firsts = {name.partition(".")[0] if "." in name else "" for name in names}
    return next((wrapper for wrapper in (*WRAPPERS, part) if firsts == {wrapper}), None)


def _by_pytorch(name: str) -> str:
    stem, _, leaf = name.rpartition(".")
    return f"{stem}.{PADDLE_NAMES[leaf]}" if stem and leaf in PADDLE_NAMES else name
