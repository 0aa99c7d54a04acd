"""Checks that an engine set is sound and fits this machine. EngineSetError says what is wrong and how to rebuild it.

The manifest must be valid, every engine that a run needs must exist, every listed file must have its size and SHA-256,
no other file may be there or be read, and the installed library and GPU must be able to run the engines. Hashes detect
damage but do not prove the origin: trust an engine set as you would trust a program, or pin it by its digest.
"""

import hashlib
import json
import mmap
import reprlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from sa.runtime.backends.libraries import (
    LIBRARY_OF,
    OPENVINO_OLDEST,
    PADDLE_GPU,
    PADDLE_RELEASES,
    backend_version,
    missing_operator,
    release,
)
from sa.runtime.backends.tensorrt_versions import RTX_CAPABILITIES
from sa.runtime.contract import FORMAT_VERSION, MANIFEST, EngineContract, FileRecord, Manifest, Role
from sa.runtime.engine_set.external_data import external_locations
from sa.runtime.errors import EngineSetError, first_fault
from sa.runtime.system import hashing

MANIFEST_LIMIT = 16 << 20  # bytes; real manifests have a few kilobytes


def check_engines(
    folder: Path, manifest: Manifest, device: str, roles: Iterable[Role], refine: bool, rehash: bool
) -> None:
    """EngineSetError unless these engines exist, are undamaged and run on `device`.

    `rehash`: hash every file again, even if its hash is cached.
    """
    missing = [role for role in roles if role not in {engine.role for engine in manifest.engines}]
    if missing:
        raise EngineSetError(f"{folder} has no {missing[0]} engine; {_rebuild(manifest)}")
    if refine and manifest.refine is None:
        rebuild = f"sa-export --refine{manifest.command.removeprefix('sa-export')}"
        raise EngineSetError(f"{folder} was made without refinement engines; rebuild it with `{rebuild}`.")
    check_files(folder, manifest, rehash)
    _check_choice(folder, manifest, device)
    _check_library(folder, manifest, device)
    if device == "cuda":
        _check_device(folder, manifest)


def check_files(folder: Path, manifest: Manifest, rehash: bool) -> None:
    """EngineSetError unless the folder holds the files of the manifest, undamaged, and nothing else."""
    for engine in manifest.engines:
        for file in engine.files:
            _check_file(folder, file, manifest, rehash)
    _check_unlisted(folder, manifest)
    for engine in manifest.engines:
        _check_external_data(folder, engine, manifest)


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest in a folder and its SHA-256. The engine files are not checked."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise EngineSetError(f"{folder} is not a folder: give --engines the folder that sa-export wrote.")
    if not path.is_file():
        raise EngineSetError(
            f"{folder} holds no {MANIFEST}, so it is no engine set (or its export did not finish); "
            f"make one with `sa-export --checkpoint CHECKPOINT --out {folder}`."
        )
    try:
        if path.stat().st_size > MANIFEST_LIMIT:
            raise EngineSetError(f"{path} is larger than any manifest; rebuild the engine set with sa-export.")
        text = path.read_bytes()
        raw = json.loads(text)
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if version != FORMAT_VERSION:
            raise EngineSetError(
                f"{path} has format version {reprlib.repr(version)}, this sa-run reads version {FORMAT_VERSION}; "
                "rebuild the engine set with the sa-export of this version."
            )
        return Manifest.model_validate(raw), hashlib.sha256(text).hexdigest()
    except ValidationError as error:
        raise EngineSetError(
            f"{path} is not a sound manifest: {first_fault(error)}; rebuild the engine set with sa-export."
        ) from None
    except OSError as error:
        raise EngineSetError(f"{path} cannot be read ({error.strerror}); make it readable.") from None
    except (ValueError, RecursionError):
        raise EngineSetError(f"{path} is not valid JSON; rebuild the engine set with sa-export.") from None


def _check_file(folder: Path, file: FileRecord, manifest: Manifest, verify: bool) -> None:
    path = folder / file.name
    rebuild = _rebuild(manifest)
    if not path.is_file():
        raise EngineSetError(f"{path} is listed in the manifest but missing; {rebuild}")
    if path.resolve().parent != folder.resolve():
        raise EngineSetError(f"{path} leads out of the engine set; {rebuild}")
    if path.stat().st_size != file.bytes:
        raise EngineSetError(
            f"{path} has {path.stat().st_size} bytes, the manifest says {file.bytes}: it is truncated or changed; "
            f"{rebuild}"
        )
    if hashing.sha256(path, use_cache=not verify) != file.sha256:
        raise EngineSetError(f"{path} does not have the SHA-256 of the manifest: it was changed or damaged; {rebuild}")


def _check_unlisted(folder: Path, manifest: Manifest) -> None:
    """EngineSetError if the folder holds more than the manifest lists. Hidden files are of systems and of exports."""
    listed = {MANIFEST, *(file.name for engine in manifest.engines for file in engine.files)}
    others = sorted(path.name for path in folder.iterdir() if path.name not in listed and path.name[0] != ".")
    if others:
        raise EngineSetError(
            f"{folder} holds {others[0]}, which its manifest does not list: remove it, or {_rebuild(manifest)}"
        )


def _check_external_data(folder: Path, engine: EngineContract, manifest: Manifest) -> None:
    """EngineSetError if one of the engine's ONNX programs takes weights from a file that the engine does not list."""
    programs = [engine.program] if manifest.backend in ("onnxruntime", "openvino") else []
    programs += [engine.prepacked.program] if engine.prepacked is not None else []
    programs += [engine.refit] if engine.refit is not None else []
    listed = {file.name for file in engine.files}
    for path in (folder / name for name in programs):
        try:
            # Mapped, because a program may hold its weights itself: the walk does not touch those.
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                foreign = next((one for one in external_locations(data) if one not in listed), None)
        except ValueError as error:
            raise EngineSetError(f"{path} is not a whole ONNX program ({error}); {_rebuild(manifest)}") from None
        if foreign is not None:
            raise EngineSetError(
                f"{path} takes weights from {reprlib.repr(foreign)}, which is not among the files of the {engine.role} "
                f"engine; {_rebuild(manifest)}"
            )


def _rebuild(manifest: Manifest) -> str:
    return f"rebuild the engine set with `{manifest.command}`."


def backend_on(manifest: Manifest, device: str) -> str:
    """The name of the backend that opens the engines on a device, such as "onnxruntime-cuda"."""
    on_gpu = manifest.backend in ("onnxruntime", "paddle") and device == "cuda"
    return f"{manifest.backend}-cuda" if on_gpu else manifest.backend


def _check_choice(folder: Path, manifest: Manifest, device: str) -> None:
    """EngineSetError if the set cannot run on the chosen device."""
    if device == "cpu" and manifest.device == "cuda":
        remedy = "without --device cuda" if manifest.backend == "onnxruntime" else "with --backend onnxruntime"
        raise EngineSetError(
            f"{folder} was made with {manifest.backend} for GPUs alone: leave out --device cpu, or export {remedy}."
        )
    if device == "cuda" and manifest.backend == "openvino":
        raise EngineSetError(
            f"{folder} was made with openvino for CPUs alone: leave out --device cuda, or export with "
            "--backend onnxruntime."
        )


def _check_library(folder: Path, manifest: Manifest, device: str) -> None:
    """EngineSetError unless the installed library can run these engines."""
    backend = backend_on(manifest, device)
    library, installed = LIBRARY_OF[backend], backend_version(backend)
    if installed is None:
        if backend == "paddle-cuda":
            raise EngineSetError(
                f"{folder} was to run on a GPU with {library.name}, which is not installed: {PADDLE_GPU}."
            )
        # onnxruntime and onnxruntime-gpu must not be installed together: they share one Python module.
        first = "pip uninstall onnxruntime && " if backend == "onnxruntime-cuda" else ""
        raise EngineSetError(
            f"{folder} runs on {library.name}, which is not installed: "
            f"`{first}pip install 'stableanimator-deploy[{library.extra}]'`."
        )
    if manifest.backend == "onnxruntime":
        sets = (one for engine in manifest.engines for one in engine.operator_sets)
        lacking = missing_operator((one.domain, one.version, one.operators) for one in sets)
        if lacking is not None:
            raise EngineSetError(
                f"{folder} needs {lacking}, which {library.name} {installed} does not have; install a version "
                f"that does (it was made with {manifest.backend_version}) or {_rebuild(manifest)}"
            )
        return
    if not _runs_on(release(installed), manifest):
        raise EngineSetError(
            f"{folder} was built for {library.name} {manifest.backend_version}, but {installed} is installed; "
            f"install that version or {_rebuild(manifest)}"
        )
    if manifest.backend == "openvino" and manifest.precision == "bf16":
        from sa.runtime.backends.openvino import computes_bf16

        if not computes_bf16():
            raise EngineSetError(
                f"{folder} computes in bfloat16, for which this CPU has no instructions (avx512_bf16 or AMX): run it "
                "on a CPU that has them, or export with --precision fp32."
            )


def _runs_on(installed: tuple[int, ...], manifest: Manifest) -> bool:
    """Whether this release of the library runs the set's engines."""
    if manifest.backend == "paddle":
        return installed[:2] in PADDLE_RELEASES
    if manifest.backend == "openvino":
        return installed[:2] >= OPENVINO_OLDEST
    return installed == release(manifest.backend_version)  # a plan runs only on the version that built it


def _check_device(folder: Path, manifest: Manifest) -> None:
    """EngineSetError unless there is a GPU that runs these engines: plans need the capability they were built for."""
    from sa.runtime.backends.cuda import compute_capability

    extra = manifest.backend if manifest.compute_capabilities else "cuda"

    try:
        found = compute_capability()
    except ImportError:
        raise EngineSetError(
            f"{folder} runs through cuda-bindings, which is not installed: "
            f"`pip install 'stableanimator-deploy[{extra}]'`."
        ) from None
    if not manifest.compute_capabilities:  # programs, which run on any GPU
        if found is None:
            raise EngineSetError(
                f"{folder} was to run on a GPU, but found none here, or no driver: leave out --device cuda."
            )
        return
    built = ", ".join(manifest.compute_capabilities)
    if found is None:
        raise EngineSetError(
            f"{folder} runs on NVIDIA GPUs of compute capability {built}, but found none here, or no driver; "
            "run it on such a machine, or export for this one with `sa-export --backend onnxruntime`."
        )
    fits = found in manifest.compute_capabilities
    if manifest.hardware_compatible:
        least = min(map(release, manifest.compute_capabilities))
        built, fits = f"{'.'.join(map(str, least))} and later", release(found) >= least
    if not fits:
        change = "on this machine"
        if manifest.backend == "tensorrt-rtx" and found in RTX_CAPABILITIES:
            change = f"but --device sm{found.replace('.', '')}"
        elif manifest.backend == "tensorrt-rtx":
            known = ", ".join(RTX_CAPABILITIES)
            change = f"but --backend tensorrt on this machine, as TensorRT for RTX knows {known} alone"
        raise EngineSetError(
            f"{folder} was built for GPUs of compute capability {built}, this one has {found}; "
            f"rebuild the engine set with `{manifest.command}`, {change}."
        )
