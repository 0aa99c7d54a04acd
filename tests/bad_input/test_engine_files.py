"""Engine sets whose hashes are right, but whose files are more than, or other than, what the manifest says."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import onnx
from command_lines import CASE, copied, fails, run_arguments
from spoiling import Row, Spoil, check, each, write

from sa.runtime.engine_set.open import EngineSet

REBUILD = (
    "rebuild the engine set with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime --precision "
    "fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`."
)
PROGRAM = "pose_net.onnx"


def write_program(content: Callable[[Path], bytes]) -> Spoil:
    """Another program for the pose net, which the manifest lists as it is."""

    def spoil(place: Path) -> None:
        path, manifest = place / "engines" / PROGRAM, place / "engines" / "manifest.json"
        path.write_bytes(content(path))
        record = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        listed = json.loads(manifest.read_text())
        for engine in listed["engines"]:
            for file in engine["files"]:
                if file["name"] == PROGRAM:
                    file |= record
        manifest.write_text(json.dumps(listed))

    return spoil


def change_program(change: Callable[[onnx.ModelProto], object]) -> Spoil:
    def content(path: Path) -> bytes:
        model = onnx.load(path, load_external_data=False)
        change(model)
        return model.SerializeToString()

    return write_program(content)


def take_weights_from(name: str) -> Spoil:
    """The last of its tensors is taken from another file."""

    def change(model: onnx.ModelProto) -> None:
        stored = [tensor for tensor in model.graph.initializer if tensor.external_data]
        next(entry for entry in stored[-1].external_data if entry.key == "location").value = name

    return change_program(change)


def rename_output(model: onnx.ModelProto) -> None:
    (output,) = model.graph.output
    old, output.name = output.name, "other"
    for node in model.graph.node:
        node.output[:] = ["other" if name == old else name for name in node.output]


ROWS = [
    Row(
        "a file more",
        f"{{place}}/engines holds notes.txt, which its manifest does not list: remove it, or {REBUILD}",
        write("engines/notes.txt", "mine"),
    ),
    Row(
        "a folder more",
        f"{{place}}/engines holds more, which its manifest does not list: remove it, or {REBUILD}",
        write("engines/more/unet.weights", "other"),
    ),
    Row(
        "weights of another engine",
        f"{{place}}/engines/{PROGRAM} takes weights from 'unet.weights', which is not among the files of the pose_net "
        f"engine; {REBUILD}",
        take_weights_from("unet.weights"),
    ),
    Row(
        "weights from outside",
        f"{{place}}/engines/{PROGRAM} takes weights from '/etc/hostname', which is not among the files of the pose_net "
        f"engine; {REBUILD}",
        take_weights_from("/etc/hostname"),
    ),
    Row(
        "weights by another way to them",
        f"{{place}}/engines/{PROGRAM} takes weights from './pose_net.weights', which is not among the files of the "
        f"pose_net engine; {REBUILD}",
        take_weights_from("./pose_net.weights"),
    ),
    Row(
        "a program cut short",
        f"{{place}}/engines/{PROGRAM} is not a whole ONNX program (a field that ends behind its message); {REBUILD}",
        write_program(lambda path: path.read_bytes()[:-1]),
    ),
    Row(
        "a program with another output",
        f"{{place}}/engines/{PROGRAM} is not the pose_net engine of its manifest: output pose_latents should be "
        "float32 [1, 32, 8, 8], but found none; rebuild the engine set with sa-export.",
        change_program(rename_output),
    ),
]


@each(ROWS)
def test_a_bad_engine_set(row, engines, case_folder, tmp_path, capsys):
    copied(tmp_path, engines=engines(CASE, "onnxruntime"))
    (tmp_path / "case").symlink_to(case_folder(CASE))
    check("sa-run", row, run_arguments(tmp_path), tmp_path, 3, capsys)


def test_a_program_of_paddle_with_other_inputs(engines, case_folder, tmp_path, capsys):
    copied(tmp_path, engines=engines(CASE, "paddle"))
    (tmp_path / "case").symlink_to(case_folder(CASE))
    path = tmp_path / "engines" / "manifest.json"
    manifest = json.loads(path.read_text())
    contract = next(engine for engine in manifest["engines"] if engine["role"] == "pose_net")
    (found,) = contract["inputs"]
    promised = {**found, "name": "another"}
    contract["inputs"] = [promised]
    path.write_text(json.dumps(manifest))
    message = (
        f"{tmp_path}/engines/pose_net.json is not the pose_net engine of its manifest: the inputs should be another, "
        f"but found {found['name']}; rebuild the engine set with sa-export."
    )
    fails("sa-run", run_arguments(tmp_path), tmp_path, 3, message, capsys)


def test_hidden_files_do_not_matter(engines, tmp_path):
    folder = copied(tmp_path, engines=engines(CASE, "onnxruntime")) / "engines"
    (folder / ".DS_Store").write_bytes(b"of another system")
    (folder / ".engines.abcdefgh.partial").mkdir()
    assert EngineSet.open(folder).manifest
