"""From an engine set and a case to a video: the whole way on one page."""

import contextlib
import json
import platform
import re
import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

from sa.runtime import PROJECT, signals, video
from sa.runtime.backends import engine_class
from sa.runtime.backends.base import Engine
from sa.runtime.case import Case, read_case
from sa.runtime.conditioning import make_conditioning
from sa.runtime.denoiser import TiledDenoiser, guidance_scales
from sa.runtime.engine_set import EngineSet, Manifest, Role, Shapes
from sa.runtime.errors import InputError
from sa.runtime.faces import FaceTargets, read_targets
from sa.runtime.identity import find_identity
from sa.runtime.images import frames_to_bytes
from sa.runtime.libraries import backend_version
from sa.runtime.memory import StagePeaks, peak_memory
from sa.runtime.memory_plan import Choices, MemoryPlan, gibibytes, plan_memory
from sa.runtime.noise import TorchGenerator
from sa.runtime.progress import Reporter
from sa.runtime.refine import RefineSettings
from sa.runtime.refinement import Refinement
from sa.runtime.sampler import Denoiser, initial_latents, karras_sigmas, sample_euler
from sa.runtime.staging import replace_entry, staged
from sa.runtime.tiles import tile_indices

RUN_FILE = "run.json"


@dataclass(frozen=True)
class Settings:
    """The flags of sa-run that decide what is computed."""

    steps: int = 25
    guidance: float = 3.0  # the last frame's scale
    guidance_start: float | None = None  # the first frame's; None: the same
    tile_overlap: int = 4
    noise_aug: float = 0.02
    seed: int = 23123134
    fps: float = 8.0
    identity: str | None = None  # a .npy file, "none", or None for the case's identity.npy
    models: Path | None = None  # with face networks, for a case without identity.npy
    noise: Path | None = None  # an .npz with the two draws, instead of the seed
    compat: str | None = None  # "upstream"
    threads: int | None = None
    low_memory: bool = False  # an engine is loaded only while its stage, or its part of one, is at work
    refine: bool = False  # the HJB face refinement
    refine_settings: RefineSettings = field(default_factory=RefineSettings)


@dataclass(frozen=True)
class Noise:
    """The two draws that decide a run (SPEC section 4)."""

    image: np.ndarray  # [1, 3, H, W]
    latents: np.ndarray  # [1, tile, 4, h, w]


def animate(engines: EngineSet, case_folder: Path, out: Path, settings: Settings, reporter: Reporter) -> dict:
    """Animate a case into the folder `out` and return what run.json says.

    InputError for a case or an output folder that cannot be used, before any engine is loaded.
    """
    manifest = engines.manifest
    shapes = manifest.shapes
    check_output(out)
    case = read_case(case_folder, shapes, manifest.command)
    warnings = list(case.warnings)
    if manifest.precision == "fp16" and engines.device == "cpu":
        warnings.append(
            f"{engines.folder} has fp16 engines, which a CPU computes in float32, slower than float32 engines: "
            "export with --precision fp32 to run here."
        )
    if engines.device == "cuda" and manifest.device == "cpu":
        warnings.append(
            f"{engines.folder} was certified {_certified(manifest)}, not on a GPU: compare a first result with one of "
            "--device cpu."
        )
    identity_size = manifest.engine("face_encoder").inputs[0].largest[-1]
    upstream = settings.compat == "upstream"
    identity = find_identity(settings.identity, case, identity_size, settings.models, upstream, warnings)
    noise = make_noise(settings, shapes.height, shapes.width, shapes.tile_size)
    targets = face_targets(case, shapes, settings, warnings) if settings.refine else None
    tiles = tile_indices(case.frames, shapes.tile_size, settings.tile_overlap)
    memory = _planned_memory(engines, case.frames, settings, warnings, reporter)
    for warning in warnings:
        reporter.warn(warning)

    def opened(role: Role) -> AbstractContextManager[Engine]:
        return engines.open_engine(role, settings.threads)

    def loaded(role: Role, on_demand: bool = False) -> AbstractContextManager[Engine]:
        with reporter.stage(f"loading {role}"):
            return engines.open_engine(role, settings.threads, on_demand) if on_demand else opened(role)

    engine_class(engines.backend)  # now, as nothing could be cleaned up if Paddle met SIGTERM while it is imported
    peaks = StagePeaks()
    with staged(out) as staging:
        with peaks.stage("conditioning"), reporter.stage("conditioning", case.frames) as advance:
            conditioning = make_conditioning(
                opened,
                manifest,
                case.reference,
                case.poses,
                identity,
                noise.image,
                settings.noise_aug,
                advance,
            )
        sigmas = karras_sigmas(settings.steps, manifest.schedule.sigma_min, manifest.schedule.sigma_max)
        latents = initial_latents(noise.latents, case.frames, manifest.schedule.sigma_max)
        start = settings.guidance if settings.guidance_start is None else settings.guidance_start
        guidance = guidance_scales(start, settings.guidance, case.frames)
        with peaks.stage("denoising"), contextlib.ExitStack() as stack:
            refinement = None
            if targets is not None:
                with reporter.stage("loading refinement"):
                    refinement = stack.enter_context(
                        Refinement.open(engines, targets, settings.threads, settings.low_memory)
                    )
            unet = stack.enter_context(loaded("unet", settings.low_memory))
            tile_calls = settings.steps * len(tiles)
            total = tile_calls + (settings.refine_settings.gradients(settings.steps) if refinement else 0)
            advance = stack.enter_context(reporter.stage("denoising", total))
            done = iter(range(tile_calls))

            def on_tile() -> None:
                step, tile = divmod(next(done), len(tiles))
                advance(f"step {step + 1}/{settings.steps}, tile {tile + 1}/{len(tiles)}")

            denoise: Denoiser = TiledDenoiser(
                unet, conditioning, shapes.tile_size, settings.tile_overlap, guidance, on_tile
            )
            if refinement is not None:
                denoise = refinement.of(denoise, unet, sigmas, settings.refine_settings, reporter, advance)
            latents = sample_euler(denoise, latents, sigmas)
            for remark in unet.remarks():
                warnings.append(remark)
                reporter.warn(remark)
        with (
            peaks.stage("decoding"),
            loaded("vae_decoder") as decoder,
            reporter.stage("decoding", case.frames) as advance,
        ):
            _decode(decoder, latents, shapes.decode_chunk, staging / "frames", advance)
        with reporter.stage("writing video"):
            video.write_mp4(staging / "animation.mp4", staging / "frames", case.frames, settings.fps)
            video.write_gif(
                staging / "animation.gif",
                staging / "frames",
                case.frames,
                settings.fps,
                upstream=settings.compat == "upstream",
            )
        report = _report(engines, case, settings, warnings, reporter.seconds, refinement)
        report["memory"] = memory.report(peaks.bytes if memory.device == "cpu" else {}) if memory is not None else None
        (staging / RUN_FILE).write_text(json.dumps(report, indent=1) + "\n")
        with signals.ignored():
            _deliver(staging, out)
    return report


def _certified(manifest: Manifest) -> str:
    emulated = any(engine.certificate.executed == "emulation" for engine in manifest.engines)
    return "by emulation on a CPU" if emulated else "on a CPU"


def _planned_memory(
    engines: EngineSet, frames: int, settings: Settings, warnings: list[str], reporter: Reporter
) -> MemoryPlan | None:
    """What the run will take; EngineSetError if that cannot fit. None for a peer of sa-bench, no engine set."""
    if not isinstance(engines, EngineSet):
        return None
    guided = max(settings.guidance, settings.guidance_start or 0) > 1
    choices = Choices(frames, settings.low_memory, settings.refine, branches=2 if guided else 1)
    plan = plan_memory(engines, choices)
    worst, free = gibibytes(plan.worst.predicted), gibibytes(plan.available)
    reporter.say(f"memory: about {worst} at its most, while {plan.worst.stage}; {free} are free")
    if plan.worst.predicted > plan.available:
        warnings.append(
            f"{plan.worst.stage} will take about {worst}, and {free} are free: expect the system to swap or to end the "
            "run; --low-memory takes less."
        )
    return plan


def check_output(out: Path) -> None:
    """InputError if results in `out` would mix with files that are no earlier run's."""
    if out.is_dir():
        if any(out.iterdir()) and not _is_earlier_run(out):
            raise InputError(
                f"{out} is not empty and holds no earlier run's {RUN_FILE}: give --out a new or empty folder."
            )
    elif out.exists():
        raise InputError(f"{out} is a file: give --out a folder.")


def _is_earlier_run(out: Path) -> bool:
    try:
        run = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(run, dict) and run.get("project") == PROJECT


def make_noise(settings: Settings, height: int, width: int, tile_size: int) -> Noise:
    """The draws from --noise, else from --seed as PyTorch's CPU generator makes them."""
    image_shape, latent_shape = (1, 3, height, width), (1, tile_size, 4, height // 8, width // 8)
    if settings.noise is None:
        generator = TorchGenerator(settings.seed)
        return Noise(generator.normal(image_shape), generator.normal(latent_shape))
    return Noise(
        _read_draw(settings.noise, "noise_image", image_shape),
        _read_draw(settings.noise, "noise_latents", latent_shape),
    )


def _read_draw(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            value = archive[name]
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): --noise takes an .npz with noise_image and noise_latents."
        ) from None
    except KeyError:
        raise InputError(f"{path} has no array {name}: --noise takes noise_image and noise_latents.") from None
    except Exception:  # zip, zlib, struct and value errors, by what is damaged
        raise InputError(
            f"{path} is not a whole .npz of plain arrays: --noise takes one with noise_image and noise_latents."
        ) from None
    if value.shape != shape or value.dtype.kind != "f":
        raise InputError(
            f"{path}: {name} must be floats of shape {list(shape)} for this engine set, "
            f"found {value.dtype} {list(value.shape)}: make the file again at that shape."
        )
    with np.errstate(over="ignore"):
        draw = value.astype(np.float32)
    if not np.isfinite(draw).all():
        raise InputError(f"{path}: {name} holds NaN or infinite numbers: make the file again.")
    return draw


def _decode(decoder: Engine, latents: np.ndarray, chunk: int, folder: Path, advance) -> None:
    """latents [1, T, 4, h, w] -> PNG files, `chunk` frames at a time; the last chunk may be short."""
    folder.mkdir()
    frames = latents.shape[1]
    for start in range(0, frames, chunk):
        decoded = decoder.infer({"latents": latents[0, start : start + chunk]})["frames"]
        for offset, frame in enumerate(frames_to_bytes(decoded)):
            video.write_frame(folder, start + offset, frame)
            advance()


def face_targets(case: Case, shapes: Shapes, settings: Settings, warnings: list[str]) -> FaceTargets:
    """The faces that --refine leads and follows; InputError for a case without masks."""
    if case.reference_mask is None or case.faces is None:
        path = "reference_mask.png" if case.reference_mask is None else "faces/"
        raise InputError(
            f"{case.folder / path} is missing: --refine needs the face marked in the reference and in every frame; "
            "add the masks, or run without --refine."
        )
    return read_targets(
        case.reference,
        case.reference_mask,
        case.faces,
        shapes.height,
        shapes.width,
        settings.compat == "upstream",
        warnings,
    )


def _report(
    engines: EngineSet,
    case: Case,
    settings: Settings,
    warnings: list[str],
    seconds: dict[str, float],
    refinement: Refinement | None,
) -> dict:
    manifest = engines.manifest
    return {
        "project": PROJECT,
        "version": metadata.version(PROJECT),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "arguments": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()},
        "case": str(case.folder),
        "frames": case.frames,
        "engines": str(engines.folder),
        "engines_digest": engines.digest,
        "backend": manifest.backend,
        "device": engines.device,
        "precision": manifest.precision,
        "shapes": manifest.shapes.model_dump(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            manifest.backend: backend_version(engines.backend) or manifest.backend_version,
        },
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_bytes": peak_memory(),
        "warnings": warnings,
        "refine": [asdict(step) for step in refinement.denoiser.steps] if refinement is not None else [],
        "refinement": refinement.report() if refinement is not None else None,
    }


def _deliver(staging: Path, out: Path) -> None:
    """Move the finished results into place; frames of an earlier, longer run go, anything else in `out` stays."""
    out.mkdir(exist_ok=True)
    earlier = out / "frames"
    if earlier.is_dir():
        for path in earlier.iterdir():
            if not re.fullmatch(r"frame_\d+\.png", path.name):
                shutil.move(path, staging / "frames" / path.name)
    for name in ("frames", "animation.mp4", "animation.gif", RUN_FILE):
        replace_entry(staging / name, out / name)
