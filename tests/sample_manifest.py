"""A manifest of round numbers, for predictions that can be checked by hand."""

from sa.runtime.contract import FORMAT_VERSION, ROLES, EngineRecord, Manifest

FLOPS = {"unet": 2_000_000_000_000, "vae_decoder": 4_000_000_000_000}
PARAMETERS = {"unet": 1_500_000_000}
ENGINE = dict(flops=1_000_000_000, parameters=1_000_000)
TENSOR_BYTES = 8_000_000


def engine(role: str, **changes) -> EngineRecord:
    parameters = changes.pop("parameters", PARAMETERS.get(role, ENGINE["parameters"]))
    facts = dict(
        role=role,
        program=f"{role}.onnx",
        files=[dict(name=f"{role}.onnx", bytes=1, sha256="0" * 64)],
        inputs=[],
        outputs=[],
        parameters=parameters,
        flops=FLOPS.get(role, ENGINE["flops"]),
        bytes=4 * parameters + TENSOR_BYTES,
        working_bytes=TENSOR_BYTES,
        certificate=dict(
            shapes="full", input_shapes={}, max_abs=0.0, relative=0.0, cosine=1.0, tolerance=1e-4
        ),
    )  # fmt: skip
    return EngineRecord.model_validate({**facts, **changes})


def manifest(**changes) -> Manifest:
    facts = dict(
        format_version=FORMAT_VERSION,
        project_version="0.1.0",
        preset=None,
        shapes=dict(height=256, width=256, tile_size=8, decode_chunk=4),
        precision="fp32",
        backend="onnxruntime",
        backend_version="1.31.1",
        device="cpu",
        compute_capabilities=(),
        libraries={},
        command="sa-export --checkpoint CHECKPOINT --out ENGINES",
        schedule=dict(sigma_min=0.002, sigma_max=700.0),
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.5, 0.5, 0.5),
        sources=[],
        export_seconds=1.0,
        export_peak_bytes=1,
        engines=[engine(role) for role in ROLES],
    )
    return Manifest.model_validate({**facts, **changes})


def refining_manifest() -> Manifest:
    """With the engines of refinement beside the others: 8 TFLOP and 2 GB for a chunk's loss gradient."""
    engines = [engine(role) for role in (*ROLES, "arcface", "loss_gradient")]
    refine = dict(plan="whole", segments=[], flops=8e12, bytes=2e9, predicted_bytes=1)
    return manifest(engines=engines, refine=refine)
