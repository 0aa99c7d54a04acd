"""Engines on Paddle Inference, on a CPU. PaddleCudaEngine extends them for GPUs."""

import contextlib
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import paddle
from paddle import inference

from sa.runtime.backends.base import Engine, Tensor
from sa.runtime.backends.interface import mismatch
from sa.runtime.contract import EngineContract
from sa.runtime.errors import EngineSetError

# Paddle catches SIGTERM and aborts with a C++ traceback. Put back the program's own handler, which cleans up.
paddle.disable_signal_handler()
with contextlib.suppress(ValueError):  # not the main thread: signals are the calling program's business
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))

PARAMS_SUFFIX = ".pdiparams"
# Of oneDNN, in Paddle 3.2.2. The first lets one of two readers of a tensor overwrite it: an error of 0.65 on the UNet.
# The second gets the type of a reshaped tensor wrong, so that some programs cannot be loaded.
WRONG_PASSES = ("inplace_pass", "operator_reshape_onednn_fuse_pass")


class PaddleEngine(Engine):
    contract: EngineContract

    def __init__(self, folder: Path, contract: EngineContract, threads: int):
        super().__init__(contract)
        path = folder / contract.program
        params = next(folder / file.name for file in contract.files if file.name.endswith(PARAMS_SUFFIX))
        config = inference.Config(str(path), str(params))
        config.disable_glog_info()
        config.enable_new_ir(True)
        config.enable_new_executor(True)
        config.enable_memory_optim()  # needs both lines above
        self._place(config, threads)
        try:
            self._predictor = inference.create_predictor(config)
        except Exception as error:  # Paddle raises RuntimeError, OSError and its own types
            raise EngineSetError(
                f"{path} cannot be loaded by Paddle Inference: {type(error).__name__}; "
                "rebuild the engine set with sa-export."
            ) from error
        self._check_names(path)

    def _check_names(self, path: Path) -> None:
        """EngineSetError unless the program has the contract's inputs, and as many outputs. Paddle tells no shapes."""
        said, found = (sorted(spec.name for spec in self.contract.inputs), sorted(self._predictor.get_input_names()))
        if said != found:
            raise mismatch(path, self.contract, "the inputs", ", ".join(said), ", ".join(found) or "none")
        outputs, count = len(self.contract.outputs), len(self._predictor.get_output_names())
        if outputs != count:
            raise mismatch(path, self.contract, "the number of outputs", str(outputs), str(count))

    def _place(self, config: inference.Config, threads: int) -> None:
        """Choose the device and its options."""
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(threads)  # the default is 1
        if self.contract.onednn:
            config.enable_onednn()
            for name in WRONG_PASSES:
                config.delete_pass(name)
        else:
            config.disable_onednn()  # it is on by default

    def _infer(self, inputs: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
        for name, value in inputs.items():
            self._predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(value))
        with _stdout_silenced() if self.contract.onednn else contextlib.nullcontext():
            self._predictor.run()
        # Outputs have Paddle's own names, but the manifest's order.
        handles = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]
        return {spec.name: handle.copy_to_cpu() for spec, handle in zip(self.contract.outputs, handles, strict=True)}

    def close(self) -> None:
        del self._predictor


@contextlib.contextmanager
def _stdout_silenced() -> Iterator[None]:
    """Hide stdout: Paddle's oneDNN kernels print a line for every mean they compute."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
