"""How a finished engine set takes its place."""

import json

from sa.export.output import deliver
from sa.runtime.contract import MANIFEST


def engine_set(folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f"{name} of {folder.name}")
    files = [{"name": name} for name in names]
    (folder / MANIFEST).write_text(json.dumps({"engines": [{"files": files}]}))
    return folder


def test_an_earlier_set_goes_and_what_came_meanwhile_stays(tmp_path):
    out = engine_set(tmp_path / "out", "unet.onnx", "old.weights")
    (out / "notes.txt").write_text("mine")
    (out / "folder").mkdir()
    deliver(engine_set(tmp_path / "made", "unet.onnx", "new.weights"), out)
    assert {path.name for path in out.iterdir()} == {"unet.onnx", "new.weights", MANIFEST, "notes.txt", "folder"}
    assert (out / "unet.onnx").read_text() == "unet.onnx of made"


def test_a_manifest_names_no_file_outside_of_its_folder(tmp_path):
    out = engine_set(tmp_path / "out", "unet.onnx")
    (tmp_path / "precious").write_text("mine")
    (out / MANIFEST).write_text(json.dumps({"engines": [{"files": [{"name": "../precious"}]}]}))
    deliver(engine_set(tmp_path / "made", "unet.onnx"), out)
    assert (tmp_path / "precious").read_text() == "mine"
