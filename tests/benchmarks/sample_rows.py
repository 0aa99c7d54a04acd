"""Rows as sa-bench run might write them, for the tests that read them. They are made up, but plausible."""

from pathlib import Path

from sa.benchmarks.measure.results import SCHEMA_VERSION, Contender, Machine, Row, append
from sa.runtime.contract import Shapes

SHAPES = Shapes(height=256, width=256, tile_size=2, decode_chunk=4)
# TFLOP, GB moved, seconds at one unit of speed
ENGINES = {
    "image_encoder": (0.335, 2.53, 2.4),
    "face_encoder": (0.00044, 0.229, 0.02),
    "pose_net": (0.00063, 0.0029, 0.012),
    "vae_encoder": (0.273, 0.137, 1.7),
    "unet": (0.5875, 6.2, 3.6),
    "vae_decoder": (3.017, 0.2575, 18.2),
}
STAGES = {
    "stage load": (0, 19.0),
    "stage conditioning": (8, 9.0),
    "stage denoising step": (8, 50.0),
    "stage decoding a chunk": (4, 18.4),
    "stage video writing": (8, 0.4),
    "stage whole run": (8, 215.0),
}


def machine(**changes) -> Machine:
    facts = dict(
        device="Intel(R) Xeon(R) Processor",
        kind="cpu",
        compute_capability=None,
        device_memory=None,
        power_limit_watts=None,
        clock_limit_mhz=None,
        driver=None,
        cpu="Intel(R) Xeon(R) Processor",
        threads=2,
        memory=24e9,
        system="Linux 6.1, Python 3.11.7",
        libraries={"numpy": "2.3.1", "onnxruntime": "1.31.1"},
        gemm_flops=185e9,
        copy_bytes=14e9,
    )
    return Machine(**{**facts, **changes})


def card(**changes) -> Machine:
    facts = dict(
        device="NVIDIA H100 80GB HBM3",
        kind="cuda",
        compute_capability="9.0",
        device_memory=85.5e9,
        power_limit_watts=700.0,
        clock_limit_mhz=1980.0,
        driver="570.86",
        cpu="AMD EPYC 9454",
        threads=16,
        memory=137e9,
        gemm_flops=50e12,
        copy_bytes=2.9e12,
    )
    return machine(**{**facts, **changes})


def contender(**changes) -> Contender:
    facts = dict(
        name="engines-ort",
        kind="engines",
        backend="onnxruntime",
        backend_version="1.31.1",
        precision="fp32",
        digest="3f" * 32,
        preset=None,
        shapes=SHAPES,
        bytes=9.35e9,
    )
    return Contender(**{**facts, **changes})


def peer(kind: str = "eager", **changes) -> Contender:
    facts = dict(name=f"diffusers:{kind}", kind="peer", backend=f"torch {kind}", backend_version="2.13.0")
    return contender(**{**facts, "digest": "", "bytes": None, **changes})


def row(**changes) -> Row:
    seconds = changes.pop("seconds", 3.7)
    facts = dict(
        schema_version=SCHEMA_VERSION,
        project_version="0.1.0",
        measured="2026-11-22T10:00:00+0000",
        machine=machine(),
        contender=contender(),
        subject="engine unet",
        frames=2,
        steps=None,
        guidance=None,
        n=9,
        p20=0.98 * seconds,
        p50=seconds,
        p90=1.06 * seconds,
        first=1.3 * seconds,
        load=None,
        repeated=0.99 * seconds,
        peak_memory=6.9e9,
        peak_device_memory=None,
        flops=0.5875e12,
        bytes=6.2e9,
        relative_error=2.1e-6,
        cosine=0.9999999,
        compared="float32 network, full shapes",
    )
    return Row(**{**facts, **changes})


def failed(reason: str, **changes) -> Row:
    nothing = dict.fromkeys(("p20", "p50", "p90", "first", "repeated", "relative_error", "cosine", "compared"))
    return row(**{**nothing, "n": 0, "frames": 0, "failure": reason, **changes})


def rows_of(place: Machine, who: Contender, slowness: float, error: float | None, memory: float) -> list[Row]:
    """A contender's engines and stages; `slowness` 1 is ONNX Runtime on two cores."""
    common = dict(machine=place, contender=who, peak_memory=memory)
    if place.kind == "cuda":
        common["peak_device_memory"] = 0.8 * memory
    measured = []
    for role, (tflop, gigabytes, seconds) in ENGINES.items():
        share = {"unet": 1.0, "vae_decoder": 0.6}.get(role, 0.4)
        known = dict(flops=tflop * 1e12, bytes=gigabytes * 1e9, relative_error=error, load=2.5 * gigabytes * slowness)
        if error is None:
            known |= dict(cosine=None, compared=None)
        frames = {"unet": 2, "vae_decoder": 4}.get(role, 1)
        sized = {**common, "peak_memory": memory * share}
        measured.append(row(subject=f"engine {role}", frames=frames, seconds=seconds * slowness, **known, **sized))
    for subject, (frames, seconds) in STAGES.items():
        absent = dict.fromkeys(("flops", "bytes", "relative_error", "cosine", "compared", "repeated", "first"))
        at = dict(frames=frames, steps=3, guidance=3.0, n=6)
        measured.append(row(subject=subject, seconds=seconds * slowness, **absent, **at, **common))
    return measured


def two_machines() -> list[list[Row]]:
    """The rows of two machines, as two result files would have them."""
    here, there = machine(), card()
    paddle = contender(name="engines-paddle", backend="paddle", backend_version="3.2.2", digest="a1" * 32)
    tensorrt = contender(name="engines-trt", backend="tensorrt", backend_version="11.4", digest="77" * 32, bytes=4.7e9)
    half = tensorrt.model_copy(update={"name": "engines-trt-half", "precision": "fp16", "digest": "78" * 32})
    return [
        [
            *rows_of(here, contender(), 1.0, 2.1e-6, 6.9e9),
            *rows_of(here, paddle, 2.4, 1.5e-6, 7.4e9),
            *rows_of(here, peer("eager"), 1.42, 3.0e-6, 7.0e9),
            *rows_of(here, peer("compile"), 1.25, 3.1e-6, 8.1e9),
            *[r for r in rows_of(here, peer("onnx"), 1.06, None, 6.8e9) if r.subject.startswith("engine")],
            failed("exit code -9: killed, 23.1 GiB asked for", contender=peer("onnx"), subject="stage whole run"),
        ],
        [
            *rows_of(there, contender(backend="onnxruntime-gpu"), 0.0080, 4.0e-6, 8.1e9),
            *rows_of(there, tensorrt, 0.0055, 5.0e-6, 7.2e9),
            *rows_of(there, half, 0.0016, 3.2e-3, 4.4e9),
            *rows_of(there, peer("eager"), 0.0095, 3.0e-6, 9.9e9),
            failed("no kernel image for compute capability 9.0", machine=there, contender=peer("compile")),
        ],
    ]


def write(folder: Path, files: list[list[Row]]) -> list[Path]:
    """One result file per list of rows."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"results-{number}.jsonl" for number in range(len(files))]
    for path, rows in zip(paths, files, strict=True):
        append(path, rows)
    return paths
