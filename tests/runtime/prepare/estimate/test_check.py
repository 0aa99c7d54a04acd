"""sa-prepare --check-models: what each file is, whether it fits, and what is missing."""

import os
from pathlib import Path

import numpy as np
import pytest
from prepare_data import constant_network, face_detector, face_recogniser, pose_networks

from sa.runtime.prepare.cli import main
from sa.runtime.prepare.estimate import check


@pytest.fixture
def models(tmp_path) -> Path:
    """A file of each kind."""
    shapes = {"det_raw": (1, 8400, 85), "simcc_x": (1, 133, 576), "simcc_y": (1, 133, 768)}
    pose_networks(tmp_path / "models", {name: np.zeros(shape) for name, shape in shapes.items()})
    face_detector(tmp_path / "models", None)
    face_recogniser(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def shown(capsys):
    """The exit code, the table's rows by file name, and all that was said, without line breaks."""

    def run(folder: Path) -> tuple[int, dict[str, list[str]], str]:
        code = main(["--check-models", str(folder)])
        said = capsys.readouterr().err
        cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line[:1] == "│"]
        return code, {Path(row[0]).name: row[2:] for row in cells}, " ".join(said.split())

    return run


def test_files_that_fit(models, shown, monkeypatch):
    constant_network(models / "antelopev2" / "genderage.onnx", [1, 3, 96, 96], [np.zeros((1, 3))])
    monkeypatch.setitem(check.SHA256, "yolox_l.onnx", check.sha256(models / "DWPose" / "yolox_l.onnx"))
    code, rows, said = shown(models)
    assert code == 0
    assert rows == {
        "yolox_l.onnx": ["person detector", "yes", "the same"],
        "dw-ll_ucoco_384.onnx": ["pose network", "yes", "another"],
        "scrfd_10g_bnkps.onnx": ["face detector", "yes", ""],
        "glintr100.onnx": ["face recogniser", "yes", ""],
        "genderage.onnx": ["not needed", "", ""],
    }
    assert f"pose network: {models}/DWPose/dw-ll_ucoco_384.onnx" in said


def test_a_face_detector_may_be_missing_and_other_names_may_fit(models, shown):
    (models / "antelopev2" / "scrfd_10g_bnkps.onnx").unlink()
    (models / "antelopev2" / "glintr100.onnx").rename(models / "w600k_r50.onnx")
    code, rows, said = shown(models)
    assert code == 0
    assert rows["w600k_r50.onnx"] == ["face recogniser", "yes", ""]
    assert "face detector: none, so the pose's face points align the face" in said


def test_what_is_missing_and_what_is_no_model_is_said(models, shown):
    (models / "DWPose" / "yolox_l.onnx").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:78\nsize 217\n"
    )
    (models / "DWPose" / "dw-ll_ucoco_384.onnx").unlink()
    constant_network(models / "antelopev2" / "glintr100.onnx", [1, 3, 112, 112], [np.zeros((1, 128))])
    (models / "x.onnx").write_bytes(b"\x08")
    code, rows, said = shown(models)
    assert code == 2
    assert rows["yolox_l.onnx"][1:] == ["no", "another"]
    assert rows["glintr100.onnx"][1] == rows["x.onnx"][1] == "no"
    for words in ("it is a Git LFS", "no face recogniser", "holds no pose network: expected dw-ll_ucoco_384.onnx"):
        assert words in said
    assert "sa-prepare: " in said and "yolox_l.onnx cannot be loaded as an ONNX file" in said


def test_no_folder_and_no_regular_file(models, shown):
    code, rows, said = shown(models / "nothing")
    assert (code, rows) == (2, {})
    assert "is not a folder: give --check-models the folder with the networks' ONNX files." in said
    (models / "folder.onnx").mkdir()
    assert shown(models)[0] == 0
    (models / "link.onnx").symlink_to("nothing")
    code, _, said = shown(models)
    assert code == 2 and "link.onnx is a link to a file that is not there" in said
    (models / "link.onnx").unlink()
    os.mkfifo(models / "pipe.onnx")
    code, _, said = shown(models)
    assert code == 2
    assert "pipe.onnx is a pipe, expected a regular file" in said


def test_a_case_needs_its_flags(capsys):
    assert main(["--reference", "photo.jpg"]) == 2
    assert (
        "--driving is missing: a case needs --reference, --out, and --driving or --poses-ready."
        in capsys.readouterr().err
    )
