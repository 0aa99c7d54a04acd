"""From an engine set and a case to a video, start to finish."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sa.runtime.backends import engine_class
from sa.runtime.backends.base import Engine
from sa.runtime.case.case import read_case
from sa.runtime.case.identity import find_identity
from sa.runtime.case.images import frames_to_bytes
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import Manifest, Role
from sa.runtime.engine_set.memory_plan import Choices, MemoryPlan, gibibytes
from sa.runtime.engine_set.open import EngineSource
from sa.runtime.errors import InputError
from sa.runtime.output import video
from sa.runtime.output.result import RUN_FILE, check_output, deliver
from sa.runtime.output.staging import staged
from sa.runtime.refinement.faces import case_targets
from sa.runtime.refinement.session import Refinement
from sa.runtime.run_report import run_report
from sa.runtime.sampling.conditioning import make_conditioning
from sa.runtime.sampling.denoiser import TiledDenoiser, guidance_scales
from sa.runtime.sampling.noise import make_noise
from sa.runtime.sampling.sampler import Denoiser, initial_latents, karras_sigmas, sample_euler
from sa.runtime.sampling.tiles import tile_indices
from sa.runtime.settings import Settings
from sa.runtime.system import signals
from sa.runtime.system.memory import StagePeaks


def animate(engines: EngineSource, case_folder: Path, out: Path, settings: Settings, reporter: Reporter) -> dict:
    """Animate a case, write the results to the folder `out` and return the contents of run.json.

    InputError if the case or the output folder cannot be used. It is raised before any engine is loaded.
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
    identity = find_identity(settings.identity, case, identity_size, settings.models, _embedder(upstream), warnings)
    noise = make_noise(settings.noise, settings.seed, shapes.height, shapes.width, shapes.tile_size)
    targets = case_targets(case, shapes, upstream, warnings) if settings.refine else None
    tiles = tile_indices(case.frames, shapes.tile_size, settings.tile_overlap)
    memory = _planned_memory(engines, case.frames, settings, warnings, reporter)
    for warning in warnings:
        reporter.warn(warning)

    def loaded(role: Role) -> Engine:
        with reporter.stage(f"loading {role}"):
            return engines.open_engine(role)

    # Import the library before there is anything to clean up: SIGTERM during Paddle's import ends the process at once.
    engine_class(engines.backend)
    peaks = StagePeaks()
    with staged(out) as staging:
        with peaks.stage("conditioning"), reporter.stage("conditioning", case.frames) as advance:
            conditioning = make_conditioning(
                engines.open_engine,
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
                    refinement = stack.enter_context(Refinement.open(engines, targets))
            unet = stack.enter_context(loaded("unet"))
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
                denoise = refinement.wrap(denoise, unet, sigmas, settings.refine_settings, reporter, advance)
            latents = sample_euler(denoise, latents, sigmas)
            for warning in unet.warnings():
                warnings.append(warning)
                reporter.warn(warning)
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
        report = run_report(engines, case, settings, warnings, reporter.seconds, refinement)
        report["memory"] = memory.report(peaks.bytes if memory.device == "cpu" else {}) if memory is not None else None
        (staging / RUN_FILE).write_text(json.dumps(report, indent=1) + "\n")
        with signals.ignored():
            deliver(staging, out)
    return report


def _certified(manifest: Manifest) -> str:
    emulated = any(engine.certificate.executed == "emulation" for engine in manifest.engines)
    return "by emulation on a CPU" if emulated else "on a CPU"


def _planned_memory(
    engines: EngineSource, frames: int, settings: Settings, warnings: list[str], reporter: Reporter
) -> MemoryPlan | None:
    """Predict the run's memory and warn if it is short. None if it is unknown; EngineSetError if it cannot fit."""
    guided = max(settings.guidance, settings.guidance_start or 0) > 1
    choices = Choices(frames, engines.low_memory, settings.refine, branches=2 if guided else 1)
    plan = engines.plan_memory(choices)
    if plan is None:
        return None
    worst, free = gibibytes(plan.worst.predicted), gibibytes(plan.available)
    reporter.say(f"memory: about {worst} at its most, while {plan.worst.stage}; {free} are free")
    if plan.worst.predicted > plan.available:
        warnings.append(
            f"{plan.worst.stage} will take about {worst}, and {free} are free: expect the system to swap or to end the "
            "run; --low-memory takes less."
        )
    return plan


def _decode(decoder: Engine, latents: np.ndarray, chunk: int, folder: Path, advance) -> None:
    """latents [1, T, 4, h, w] -> PNG files, `chunk` frames at a time; the last chunk may be short."""
    folder.mkdir()
    frames = latents.shape[1]
    for start in range(0, frames, chunk):
        decoded = decoder.infer({"latents": latents[0, start : start + chunk]})["frames"]
        for offset, frame in enumerate(frames_to_bytes(decoded)):
            video.write_frame(folder, start + offset, frame)
            advance()


def _embedder(upstream: bool) -> Callable[[np.ndarray, Path], np.ndarray]:
    """A function that makes an identity embedding with the face networks of the extra 'prepare'."""

    def embed(picture: np.ndarray, models: Path) -> np.ndarray:
        try:
            from sa.runtime.prepare.estimate.face_networks import reference_embedding
        except ImportError as error:
            raise InputError(
                f"--models needs {error.name or error}, which is not installed: "
                "`pip install 'stableanimator-deploy[prepare]'`."
            ) from None
        return reference_embedding(picture, models, upstream)

    return embed
