"""Engines as ONNX Runtime has them once loaded, for hosts like this one (`sa-export --prepack`).

Loading a UNet means to optimize its graph, lay convolutions out in blocks and pack every matrix: seconds, and memory of
the process. Saved in that state, loading maps files, at once.
"""

from pathlib import Path

from sa.runtime.contract import EngineContract, FileRecord, Prepacked
from sa.runtime.system import hashing
from sa.runtime.system.processors import usable_cores

WORTH_IT = 1 << 30  # bytes of weights from which loading takes noticeable time


def is_worth_it(contract: EngineContract) -> bool:
    return sum(file.bytes for file in contract.files) >= WORTH_IT


def prepack(folder: Path, contract: EngineContract, threads: int | None) -> EngineContract:
    """The contract with the prepacked engine, whose files are written into the folder."""
    import onnxruntime

    from sa.runtime.backends.onnxruntime import host

    stem = f"{contract.role}.prepacked"
    program, weights = f"{stem}.onnx", f"{stem}.weights"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.log_severity_level = 3  # errors only: that what is saved fits hosts like this one alone is known
    options.optimized_model_filepath = str(folder / program)
    for key, value in (
        ("optimized_model_external_initializers_file_name", weights),
        ("optimized_model_external_initializers_min_size_in_bytes", "1024"),
        ("save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(f"session.{key}", value)
    onnxruntime.InferenceSession(folder / contract.program, options, providers=["CPUExecutionProvider"])
    files = tuple(
        FileRecord(name=name, bytes=(folder / name).stat().st_size, sha256=hashing.sha256(folder / name))
        for name in (program, weights)
    )
    made = Prepacked(program=program, host=host())
    return contract.model_copy(update={"files": (*contract.files, *files), "prepacked": made})
