"""What sa-run says of an engine set that it cannot use; nothing is added or changed."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
from command_lines import CASE, copied, fails, run_arguments
from spoiling import (
    Row,
    Spoil,
    all_of,
    check,
    cut,
    each,
    edit_json,
    remove,
    without_engine,
    write,
)

from sa.runtime.engine_set.open import EngineSet


def edit_engine(role: str, change: Callable[[dict], None]) -> Spoil:
    """Change what the manifest says of one engine."""

    def spoil(place: Path) -> None:
        manifest = place / "engines" / "manifest.json"
        content = json.loads(manifest.read_text())
        change(next(engine for engine in content["engines"] if engine["role"] == role))
        manifest.write_text(json.dumps(content))

    return spoil


def also_needs(domain: str, version: int, operator: str) -> Callable[[dict], None]:
    return lambda engine: engine["operator_sets"].append(dict(domain=domain, version=version, operators=[operator]))


def rename_listed_file(new: str) -> Spoil:
    """The manifest gives the pose net's weights another name."""
    return edit_engine("pose_net", lambda engine: engine["files"][1].update(name=new))


def change_a_byte(place: Path) -> None:
    """Change one byte of a file whose hash is known from before, and put its times back."""
    EngineSet.open(place / "engines")
    path = place / "engines" / "unet.weights"
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns


def link_to_outside(place: Path) -> None:
    (place / "engines" / "unet.weights").rename(place / "elsewhere")
    (place / "engines" / "unet.weights").symlink_to(place / "elsewhere")


ENGINE_ROWS = [
    Row(
        "no folder",
        "{place}/engines is not a folder: give --engines the folder that sa-export wrote.",
        remove("engines"),
    ),
    Row(
        "a file for a folder",
        "{place}/engines is not a folder: give --engines the folder that sa-export wrote.",
        all_of(remove("engines"), write("engines")),
    ),
    Row(
        "no manifest",
        "{place}/engines holds no manifest.json, so it is no engine set (or its export did not finish); "
        "make one with `sa-export --checkpoint CHECKPOINT --out {place}/engines`.",
        remove("engines/manifest.json"),
    ),
    Row(
        "manifest not JSON",
        "{place}/engines/manifest.json is not valid JSON; rebuild the engine set with sa-export.",
        write("engines/manifest.json", "{"),
    ),
    Row(
        "manifest not text",
        "{place}/engines/manifest.json is not valid JSON; rebuild the engine set with sa-export.",
        write("engines/manifest.json", b"\x80\x81\x82\x83"),
    ),
    Row(
        "manifest a list",
        "{place}/engines/manifest.json has format version None, this sa-run reads version 3; "
        "rebuild the engine set with the sa-export of this version.",
        write("engines/manifest.json", "[]"),
    ),
    Row(
        "manifest nested deep",
        "{place}/engines/manifest.json is not valid JSON; rebuild the engine set with sa-export.",
        write("engines/manifest.json", '{"format_version":' + "[" * 100_000),
    ),
    Row(
        "manifest of 17 MiB",
        "{place}/engines/manifest.json is larger than any manifest; rebuild the engine set with sa-export.",
        write("engines/manifest.json", " " * (17 << 20)),
    ),
    Row(
        "an earlier format",
        "{place}/engines/manifest.json has format version 1, this sa-run reads version 3; "
        "rebuild the engine set with the sa-export of this version.",
        edit_json("engines/manifest.json", format_version=1),
    ),
    Row(
        "a format of many words",
        "{place}/engines/manifest.json has format version 'xxxxxxxxxxxx...xxxxxxxxxxxxx', this sa-run reads version 3; "
        "rebuild the engine set with the sa-export of this version.",
        edit_json("engines/manifest.json", format_version="x" * 10_000),
    ),
    Row(
        "an unknown field",
        "{place}/engines/manifest.json is not a sound manifest: plugins is not known; "
        "rebuild the engine set with sa-export.",
        edit_json("engines/manifest.json", plugins=["evil.so"]),
    ),
    Row(
        "a field missing",
        "{place}/engines/manifest.json is not a sound manifest: schedule is missing; "
        "rebuild the engine set with sa-export.",
        edit_json("engines/manifest.json", schedule=...),
    ),
    Row(
        "an unknown backend",
        "{place}/engines/manifest.json is not a sound manifest: backend must be 'onnxruntime', 'openvino', 'paddle', "
        "'tensorrt' or 'tensorrt-rtx', not 'pickle'; rebuild the engine set with sa-export.",
        edit_json("engines/manifest.json", backend="pickle"),
    ),
    Row(
        "a file above the set",
        "{place}/engines/manifest.json is not a sound manifest: engines.2.files.1.name cannot be '../evil'; "
        "rebuild the engine set with sa-export.",
        rename_listed_file("../evil"),
    ),
    Row(
        "a file by its whole path",
        "{place}/engines/manifest.json is not a sound manifest: engines.2.files.1.name cannot be '/etc/passwd'; "
        "rebuild the engine set with sa-export.",
        rename_listed_file("/etc/passwd"),
    ),
    Row(
        "a hidden file",
        "{place}/engines/manifest.json is not a sound manifest: engines.2.files.1.name cannot be '.evil'; "
        "rebuild the engine set with sa-export.",
        rename_listed_file(".evil"),
    ),
    Row(
        "a program not listed",
        "{place}/engines/manifest.json is not a sound manifest: engines.6: "
        "program evil.onnx is not among the engine's files; rebuild the engine set with sa-export.",
        edit_engine("unet", lambda engine: engine.update(program="evil.onnx")),
    ),
    Row(
        "an unknown role",
        "{place}/engines/manifest.json is not a sound manifest: engines.6.role cannot be 'evil'; "
        "rebuild the engine set with sa-export.",
        edit_engine("unet", lambda engine: engine.update(role="evil")),
    ),
    Row(
        "a role twice",
        "{place}/engines/manifest.json is not a sound manifest: an engine role is listed twice; "
        "rebuild the engine set with sa-export.",
        edit_engine("unet", lambda engine: engine.update(role="pose_net")),
    ),
    Row(
        "half of what a specialized UNet needs",
        "{place}/engines/manifest.json is not a sound manifest: "
        "the specialized UNet's engine conditioning is not listed; rebuild the engine set with sa-export.",
        without_engine("conditioning"),
    ),
    Row(
        "no unet",
        "{place}/engines has no unet engine; rebuild the engine set with `sa-export --checkpoint CHECKPOINT --out "
        "ENGINES --backend onnxruntime --precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`.",
        without_engine("unet"),
    ),
    Row(
        "a file missing",
        "{place}/engines/unet.weights is listed in the manifest but missing; "
        "rebuild the engine set with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
        "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`.",
        remove("engines/unet.weights"),
    ),
    Row(
        "a file truncated",
        "{place}/engines/unet.weights has {less} bytes, the manifest says {bytes}: it is truncated or changed; "
        "rebuild the engine set with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
        "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`.",
        cut("engines/unet.weights", 1),
    ),
    Row(
        "a byte changed",
        "{place}/engines/unet.weights does not have the SHA-256 of the manifest: it was changed or damaged; "
        "rebuild the engine set with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
        "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`.",
        change_a_byte,
    ),
    Row(
        "a link out of the set",
        "{place}/engines/unet.weights leads out of the engine set; "
        "rebuild the engine set with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
        "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`.",
        link_to_outside,
    ),
    Row(
        "an operator that the library lacks",
        "{place}/engines needs the operator Teleport of com.microsoft's opset 1, "
        "which onnxruntime {installed} does not have; install a version that does (it was made with {installed}) or "
        "rebuild the engine set with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
        "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`.",
        edit_engine("unet", also_needs("com.microsoft", 1, "Teleport")),
    ),
    Row(
        "an operator for which the library has no kernel",
        "{place}/engines needs the operator GroupNorm of com.microsoft's opset 1, "
        "which onnxruntime {installed} does not have; install a version that does (it was made with {installed}) or "
        "rebuild the engine set with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
        "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`.",
        edit_engine("unet", also_needs("com.microsoft", 1, "GroupNorm")),
    ),
    Row(
        "a later opset",
        "{place}/engines needs the operators of ONNX's opset 99, which onnxruntime {installed} does not have; "
        "install a version that does (it was made with {installed}) or rebuild the engine set with `sa-export "
        "--checkpoint CHECKPOINT --out ENGINES --backend onnxruntime --precision fp32 --height 64 --width 64 "
        "--tile-size 5 --decode-chunk 4`.",
        edit_engine("unet", also_needs("", 99, "MatMul")),
    ),
    Row(
        "another digest",
        "{place}/engines/manifest.json has SHA-256 {digest}, but --engines-digest asks for "
        "0000000000000000000000000000000000000000000000000000000000000000: give the engine set you pinned, "
        "or the digest of this one if you trust it.",
        flags=("--engines-digest", "0" * 64),
    ),
]


@each(ENGINE_ROWS)
def test_a_bad_engine_set(row, engines, case_folder, place, capsys):
    copied(place, engines=engines(CASE, "onnxruntime"), case=case_folder(CASE))
    size = (place / "engines" / "unet.weights").stat().st_size
    facts = {
        "installed": onnxruntime.__version__,
        "digest": hashlib.sha256((place / "engines" / "manifest.json").read_bytes()).hexdigest(),
        "bytes": size,
        "less": size - 1,
    }
    check("sa-run", row, run_arguments(place), place, 3, capsys, **facts)


def test_a_file_that_is_no_engine(engines, case_folder, place, capsys):
    """The manifest lists it as it is, but ONNX Runtime cannot load it."""
    copied(place, engines=engines(CASE, "onnxruntime"), case=case_folder(CASE))
    path = place / "engines" / "image_encoder.onnx"
    content = b"\x12\x09no engine"  # a producer's name, and no graph
    path.write_bytes(content)
    record = {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_engine("image_encoder", lambda engine: engine["files"].__setitem__(0, record))(place)
    with pytest.raises(Exception, match="rotobuf") as refusal:
        onnxruntime.InferenceSession(path)
    message = (
        f"{place}/engines/image_encoder.onnx cannot be loaded by ONNX Runtime {onnxruntime.__version__}: "
        f"{refusal.value}; rebuild the engine set with sa-export."
    )
    fails("sa-run", run_arguments(place), place, 3, message, capsys)
