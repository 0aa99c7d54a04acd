"""From a checkpoint to an engine set: the whole way on one page."""

import json
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import paddle

from sa.export.certify import Networks, beyond_tolerance, certificate, reference_outputs, twin_shapes
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.emit import contract, write
from sa.export.engines.program import TWIN, Written
from sa.export.engines.refinement_plan import refine_plan
from sa.export.engines.refinement_roles import RefinePlanName, refine_definitions
from sa.export.engines.roles import DEFINITIONS, PLAIN_DEFINITIONS, EngineDefinition, slots_by_part
from sa.export.onnx.emulation import BACKEND as EMULATING
from sa.export.onnx.emulation import open_emulated
from sa.export.precision.typing import HalfTyping, LoadTyping
from sa.export.targets.onnxruntime.prepack import is_worth_it, prepack
from sa.export.targets.tensorrt.plans import planned
from sa.export.targets.tensorrt.settings import PlanSettings
from sa.runtime.backends import open_engine
from sa.runtime.backends.base import Engine
from sa.runtime.backends.composed.specialized_unet import SpecializedUNet
from sa.runtime.backends.libraries import backend_version
from sa.runtime.backends.tensorrt_versions import LIBRARIES
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import (
    FORMAT_VERSION,
    MANIFEST,
    Certificate,
    EngineContract,
    EngineRecord,
    Manifest,
    Role,
    Schedule,
    Shapes,
)
from sa.runtime.engine_set.memory_plan import gibibytes
from sa.runtime.errors import EngineSetError, InputError, UserError
from sa.runtime.output.staging import replace_entry, staged
from sa.runtime.system import signals
from sa.runtime.system.memory import available_memory, peak_memory
from sa.runtime.system.processors import usable_cores

EXPORTING = 1.25  # of the largest network's float32 weights: measured at true size, 7.2 GiB for a UNet of 5.8


@dataclass(frozen=True)
class ExportSettings:
    shapes: Shapes
    preset: str | None
    backend: str = "onnxruntime"
    precision: str = "fp32"
    plans: PlanSettings | None = None  # for TensorRT
    plain: bool = False  # the UNet as published, not specialized
    refine: RefinePlanName | None = None  # also the engines of the HJB refinement, by this plan
    prepack: bool = False  # ONNX Runtime: also as loaded, for hosts like this one
    onednn: bool = False  # Paddle Inference: try oneDNN's kernels, keep them for engines certified with them
    threads: int | None = None

    @property
    def plans_are_run(self) -> bool:
        """Whether plans are built for the GPU at hand, so that they themselves are certified."""
        return self.plans is not None and LIBRARIES[self.backend].timed

    @property
    def converted_on_loading(self) -> bool:
        """Whether the engines become fp16 as Paddle Inference loads them on a GPU, which has to be here."""
        return self.backend == "paddle" and self.precision == "fp16"

    @property
    def runs_on(self) -> str:
        """The backend that engines are certified on."""
        if self.plans is not None and not self.plans_are_run:
            return EMULATING  # their programs
        return "paddle-cuda" if self.converted_on_loading else self.backend

    @property
    def command(self) -> str:
        """The command line that makes such an engine set."""
        s = self.shapes
        words = (
            f"sa-export --checkpoint CHECKPOINT --out ENGINES --backend {self.backend} --precision {self.precision} "
            f"--height {s.height} --width {s.width} --tile-size {s.tile_size} --decode-chunk {s.decode_chunk}"
        )
        if self.plans is not None:
            words += self._plan_words
        if self.plain:
            words += " --plain"
        if self.refine is not None:
            words += " --refine" + (f" --refine-plan {self.refine}" if self.refine != "segmented" else "")
        return words + (" --prepack" if self.prepack else "") + (" --onednn" if self.onednn else "")

    @property
    def _plan_words(self) -> str:
        plans, words = self.plans, ""
        if self.backend == "tensorrt-rtx":
            words += f" --device {','.join('sm' + one.replace('.', '') for one in plans.capabilities)}"
        if plans.workspace_bytes is not None:
            words += f" --workspace {plans.workspace_bytes / 2**30:g}"
        if plans.level is not None:
            words += f" --builder-level {plans.level}"
        flags = (
            ("--hardware-compatible", plans.compatible),
            ("--strip-plans", plans.stripped),
            ("--kernels on", plans.kernels),
        )
        return words + "".join(f" {flag}" for flag, given in flags if given)


def export(checkpoint_folder: Path, out: Path, settings: ExportSettings, reporter: Reporter) -> Manifest:
    """Write the engine set of a checkpoint to the folder `out`, whole and certified or not at all.

    InputError for a checkpoint or an `out` that cannot be used; UserError for an engine that misses its tolerance.
    """
    started = time.perf_counter()
    paddle.set_device("cpu")
    threads = settings.threads or usable_cores()
    paddle.base.core.set_num_threads(threads)
    _check_output(out)
    with reporter.stage("reading checkpoint"):
        checkpoint = Checkpoint(checkpoint_folder)
        # All names and shapes are checked before any work begins.
        refinement = refine_definitions(settings.refine, checkpoint) if settings.refine is not None else None
        usual = PLAIN_DEFINITIONS if settings.plain else DEFINITIONS
        definitions = (*usual, *(refinement.engines if refinement is not None else ()))
        expected = slots_by_part(checkpoint, definitions)
        networks = Networks(checkpoint, {part: checkpoint.weights(part, slots) for part, slots in expected.items()})
        typing = None
        if settings.converted_on_loading:
            typing = LoadTyping(settings.precision)
        elif settings.precision != "fp32":
            typing = HalfTyping(settings.precision, networks, definitions, settings.shapes, settings.backend, threads)
    _check_memory(
        {part: sum(math.prod(slot.shape) for slot in slots.values()) for part, slots in expected.items()}, reporter
    )
    with staged(out) as folder:
        with reporter.stage("exporting", len(definitions)) as advance:
            engines = []
            for definition in definitions:
                if typing is not None:
                    with reporter.stage(f"{definition.role}: ranges"):
                        definition = typing.typed(definition, folder)
                engines.append(_engine(definition, networks, folder, settings, engines, reporter))
                advance(definition.role)
            networks.release()
        if settings.plans is not None:
            if not settings.plans_are_run:
                engines = _planned(engines, folder, settings, reporter)
            _remove_programs(engines, folder)
        with reporter.stage("hashing sources"):
            sources = tuple(checkpoint.sources())
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            project_version=metadata.version("stableanimator-deploy"),
            preset=settings.preset,
            shapes=settings.shapes,
            precision=settings.precision,
            backend=settings.backend,
            backend_version=backend_version(settings.backend),
            device="cuda" if settings.plans is not None or settings.converted_on_loading else "cpu",
            compute_capabilities=settings.plans.capabilities if settings.plans is not None else (),
            hardware_compatible=settings.plans is not None and settings.plans.compatible,
            kernels=settings.plans is not None and settings.plans.kernels,
            libraries={
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in ("numpy", "onnx", "paddle2onnx")},
                "paddlepaddle": backend_version("paddle"),
            },
            command=settings.command,
            schedule=Schedule(sigma_min=checkpoint.scheduler.sigma_min, sigma_max=checkpoint.scheduler.sigma_max),
            image_mean=checkpoint.feature_extractor.image_mean,
            image_std=checkpoint.feature_extractor.image_std,
            sources=sources,
            export_seconds=round(time.perf_counter() - started, 1),
            export_peak_bytes=peak_memory(),
            engines=tuple(engines),
            refine=refine_plan(settings.refine, refinement.segments, engines) if refinement is not None else None,
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        with signals.ignored():
            _deliver(folder, out)
    return manifest


def _check_memory(parameters: Mapping[str, int], reporter: Reporter) -> None:
    """Say what the largest network will take, once as the float32 reference, then as the engine that is compared."""
    part, count = max(parameters.items(), key=lambda item: item[1])
    least, free = 4 * count, available_memory()
    if least > free:
        raise UserError(
            f"exporting needs at least {gibibytes(least)} for the float32 network of the {part}, but {gibibytes(free)} "
            "of memory are free: end other programs, or export on a machine with more."
        )
    reporter.say(f"memory: about {gibibytes(int(EXPORTING * least))} at its most; {gibibytes(free)} are free")


def _planned(
    engines: list[EngineRecord], folder: Path, settings: ExportSettings, reporter: Reporter
) -> list[EngineRecord]:
    """Every engine as a plan for a GPU elsewhere, once all are certified: they are by their programs."""
    with reporter.stage("building plans", len(engines)) as advance:
        made = []
        for engine in engines:
            made.append(planned(folder, engine, settings.backend, settings.plans))
            advance(engine.role)
    return made


def _remove_programs(engines: list[EngineRecord], folder: Path) -> None:
    """What the plans were built from."""
    kept = {file.name for engine in engines for file in engine.files}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()


def _check_output(out: Path) -> None:
    """An earlier engine set is replaced; anything else in the way is the user's and stays."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file: give --out a folder.")
    try:
        listed = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        ours = {MANIFEST, *(file["name"] for engine in listed["engines"] for file in engine["files"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{out} is not empty and is no engine set: give --out a new or empty folder, or an engine set to replace."
        ) from None
    if others := sorted(path.name for path in out.iterdir() if path.name not in ours or path.is_dir()):
        raise InputError(
            f"{out} is an engine set, but also holds {others[0]}, which replacing it would delete: "
            "move that away or give another --out."
        )


def _deliver(folder: Path, out: Path) -> None:
    """Move the finished engine set into place; of an earlier one there nothing stays."""
    out.mkdir(exist_ok=True)
    for path in out.iterdir():
        if path.name != folder.name:
            path.unlink()
    files = [path.name for path in folder.iterdir() if path.name != MANIFEST]
    for name in (*files, MANIFEST):  # last, so that what has a manifest is whole
        replace_entry(folder / name, out / name)


def _engine(
    definition: EngineDefinition,
    networks: Networks,
    folder: Path,
    settings: ExportSettings,
    earlier: list[EngineRecord],
    reporter: Reporter,
) -> EngineRecord:
    """Write and certify one engine; `earlier` are those its helpers are among."""
    role, shapes = definition.role, settings.shapes
    known = definition.stands_for or definition
    with reporter.stage(f"{role}: convert"):
        written = write(definition, networks, shapes, folder, settings.backend, role)
        made = _contract(definition, written, folder, settings)
        reduced = written.cost.flops > definition.affordable
        at = twin_shapes(shapes) if reduced else shapes
        twins = [
            _contract(one, write(one, networks, at, folder, settings.backend, one.role + TWIN), folder, settings)
            for one in ((*definition.helpers, definition) if reduced else ())
        ]
    if settings.plans_are_run:
        with reporter.stage(f"{role}: build"):
            made, *twins = (planned(folder, one, settings.backend, settings.plans) for one in (made, *twins))
    with reporter.stage(f"{role}: reference"):
        tested = {one.role: one for one in (*earlier, made, *twins)}
        inputs = tested[role].inputs if known is definition else known.inputs(networks.checkpoint, at)
        network = networks.loaded(definition)
        method, gradient = known.method(network), networks.gradient(known, shapes)
        reference = reference_outputs(method, gradient, inputs)
        if definition.last:
            del network, method
            networks.release()  # the weights exist once: the engine loads its own next
    with reporter.stage(f"{role}: certify"):
        result, onednn = _certify(definition, folder, tested, reference, reduced, settings)
        if settings.prepack and is_worth_it(made):
            made = prepack(folder, made, settings.threads or usable_cores())
            if not reduced:
                again, _ = _certify(definition, folder, tested | {role: made}, reference, reduced, settings)
                result = max(result, again, key=lambda one: one.relative)
    for twin in twins:
        (folder / twin.program).unlink()  # its weights are the engine's
    return EngineRecord(
        **made.model_dump(exclude={"onednn"}),
        onednn=onednn,
        **definition.typing,
        parameters=written.traced.parameter_count,
        flops=written.cost.flops,
        bytes=written.traced.bytes(definition.precision),
        working_bytes=written.cost.working_bytes,
        certificate=result,
    )


def _contract(definition: EngineDefinition, written: Written, folder: Path, settings: ExportSettings) -> EngineContract:
    made = contract(definition.role, written, folder)
    if not settings.converted_on_loading or definition.half is None:
        return made
    return made.model_copy(update={"float32_operators": definition.half.policy.paddle_operators})


def _certify(
    definition: EngineDefinition,
    folder: Path,
    contracts: Mapping[Role, EngineContract],
    reference: tuple[np.ndarray, ...],
    reduced: bool,
    settings: ExportSettings,
) -> tuple[Certificate, bool]:
    """The engine's certificate and whether it was given with oneDNN; UserError beyond the tolerance."""
    # Never oneDNN for gradients: Paddle's kernels for them fail or crash.
    for onednn in (True, False) if settings.onednn and definition.gradient is None else (False,):
        attempt = contracts[definition.role].model_copy(update={"onednn": onednn})
        try:
            with _open(definition, folder, {**contracts, definition.role: attempt}, settings) as engine:
                result = certificate(engine, reference, reduced, definition.precision, definition.kinked)
            result = result.model_copy(update={"executed": _executed(definition, settings)})
        except EngineSetError:
            if not onednn:
                raise
            continue  # some programs cannot even be loaded with it
        if result.relative <= result.tolerance:
            return result, onednn
    raise beyond_tolerance(result, definition.role)


def _executed(definition: EngineDefinition, settings: ExportSettings) -> str:
    if settings.plans_are_run or settings.converted_on_loading:
        return "engine"
    if definition.half is not None:
        return "emulation"
    return "program" if settings.plans is not None else "engine"


def _open(
    definition: EngineDefinition, folder: Path, contracts: Mapping[Role, EngineContract], settings: ExportSettings
) -> Engine:
    def opened(role: Role) -> Engine:
        executed = _executed(definition, settings)
        if role == definition.role and executed == "emulation":
            return open_emulated(folder, contracts[role], settings.threads)
        return open_engine(settings.runs_on, folder, contracts[role], settings.threads)

    return opened(definition.role) if definition.stands_for is None else SpecializedUNet(contracts, opened)
