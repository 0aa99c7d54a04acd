"""From a checkpoint to an engine set: the whole way on one page."""

import math
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import paddle

from sa.export.certified_engine import Workshop
from sa.export.certify import Networks
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.chosen_plan import chosen_plan
from sa.export.engines.cached_roles import with_cache
from sa.export.engines.refinement_plan import refine_plan
from sa.export.engines.refinement_roles import RefineDefinitions, refine_definitions
from sa.export.engines.roles import DEFINITIONS, PLAIN_DEFINITIONS, slots_by_part
from sa.export.engines.window_roles import WindowDefinitions, window_definitions
from sa.export.output import check_output, deliver
from sa.export.precision.typing import typing_for
from sa.export.settings import ExportSettings
from sa.runtime.backends.libraries import backend_version
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import FORMAT_VERSION, MANIFEST, EngineRecord, Manifest, Precision, Schedule
from sa.runtime.engine_set.memory_plan import gibibytes
from sa.runtime.errors import UserError
from sa.runtime.output.staging import staged
from sa.runtime.system import signals
from sa.runtime.system.memory import available_memory, peak_memory
from sa.runtime.system.processors import usable_cores

# Of the largest network's float32 weights, measured at true size: 7.2 and 10.4 GiB for a UNet of 5.8.
EXPORTING = {"fp32": 1.25, "bf16": 1.25, "fp16": 1.8}


def export(checkpoint_folder: Path, out: Path, settings: ExportSettings, reporter: Reporter) -> Manifest:
    """Write the engine set of a checkpoint to the folder `out`, whole and certified or not at all.

    InputError for a checkpoint or an `out` that cannot be used; UserError for an engine that misses its tolerance.
    """
    started = time.perf_counter()
    target = settings.target
    paddle.set_device("cpu")
    threads = target.threads or usable_cores()
    paddle.base.core.set_num_threads(threads)
    check_output(out)
    with reporter.stage("reading checkpoint"):  # all names and shapes are checked before any work begins
        checkpoint = Checkpoint(checkpoint_folder)
        plan = chosen_plan(checkpoint, settings, reporter) if settings.refine == "auto" else settings.refine
        settings = replace(settings, refine=plan)
        refinement = refine_definitions(plan, checkpoint) if plan is not None else None
        window = window_definitions(settings.refine_window, checkpoint) if settings.refine_window is not None else None
        usual = PLAIN_DEFINITIONS if settings.plain else DEFINITIONS
        if settings.cache_depth is not None:
            usual = with_cache(usual, settings.cache_depth, checkpoint)
        further = [part.engines for part in (refinement, window) if part is not None]
        definitions = (*usual, *(engine for engines in further for engine in engines))
        expected = slots_by_part(checkpoint, definitions)
        networks = Networks(checkpoint, {part: checkpoint.weights(part, slots) for part, slots in expected.items()})
        typing = typing_for(settings.precision, target, networks, definitions, settings.shapes, threads)
    for note in checkpoint.notes:
        reporter.say(note)
    parameters = {part: sum(math.prod(slot.shape) for slot in slots.values()) for part, slots in expected.items()}
    _check_memory(parameters, settings.precision, reporter)
    with staged(out) as folder:
        workshop = Workshop(networks, settings.shapes, target, folder, reporter)
        engines: list[EngineRecord] = []
        with reporter.stage("exporting", len(definitions)) as advance:
            for definition in definitions:
                with reporter.stage(f"{definition.role}: ranges"):
                    definition = typing.typed(definition, folder)
                engines.append(workshop.certified_engine(definition, engines))
                advance(definition.role)
            networks.release()
        engines = target.finish(engines, folder, reporter)
        manifest = _manifest(checkpoint, settings, engines, refinement, window, started, reporter)
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        with signals.ignored():
            deliver(folder, out)
    return manifest


def _manifest(
    checkpoint: Checkpoint,
    settings: ExportSettings,
    engines: list[EngineRecord],
    refinement: RefineDefinitions | None,
    window: WindowDefinitions | None,
    started: float,
    reporter: Reporter,
) -> Manifest:
    with reporter.stage("hashing sources"):
        sources = tuple(checkpoint.sources())
    target = settings.target
    refine = None
    if refinement is not None:
        refine = refine_plan(refinement.segments, engines, window)
    return Manifest(
        format_version=FORMAT_VERSION,
        project_version=metadata.version("stableanimator-deploy"),
        preset=settings.preset,
        shapes=settings.shapes,
        precision=settings.precision,
        backend=target.backend,
        backend_version=backend_version(target.backend),
        device=target.device,
        compute_capabilities=target.compute_capabilities,
        hardware_compatible=target.hardware_compatible,
        kernels=target.kernels,
        libraries={
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "onnx", "paddle2onnx")},
            "paddlepaddle": backend_version("paddle"),
        },
        command=settings.command,
        schedule=Schedule(sigma_min=checkpoint.scheduler.sigma_min, sigma_max=checkpoint.scheduler.sigma_max),
        image_mean=checkpoint.feature_extractor.image_mean,
        image_std=checkpoint.feature_extractor.image_std,
        scaling_factor=checkpoint.vae.scaling_factor,
        sources=sources,
        export_seconds=round(time.perf_counter() - started, 1),
        export_peak_bytes=peak_memory(),
        engines=tuple(engines),
        refine=refine,
        cache_depth=settings.cache_depth,
    )


def _check_memory(parameters: Mapping[str, int], precision: Precision, reporter: Reporter) -> None:
    """Say what the largest network will take, once as the float32 reference, then as the engine that is compared."""
    part, count = max(parameters.items(), key=lambda item: item[1])
    least, free = 4 * count, available_memory()
    if least > free:
        raise UserError(
            f"exporting needs at least {gibibytes(least)} for the float32 network of the {part}, but {gibibytes(free)} "
            "of memory are free: end other programs, or export on a machine with more."
        )
    most = gibibytes(int(EXPORTING[precision] * least))
    reporter.say(f"memory: about {most} at its most; {gibibytes(free)} are free")
