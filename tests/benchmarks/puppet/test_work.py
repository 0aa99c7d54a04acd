"""Work folders of the studies: kept for the weights and drawings they were begun with, refused for others."""

import pytest
from PIL import Image

from sa.benchmarks.cli import main
from sa.benchmarks.puppet import work as works
from sa.benchmarks.puppet.draw.clips import Clip
from sa.runtime.errors import InputError, UserError


def test_a_folder_goes_on_with_what_it_was_begun_with(tmp_path):
    works.open_work(tmp_path / "a" / "work", "s")
    (tmp_path / "a" / "work" / "case").mkdir()
    works.open_work(tmp_path / "a" / "work", "s")


@pytest.mark.parametrize("changed", ["weights", "picture", "pose", "study"])
def test_results_of_something_else_are_refused(changed, tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "unet.safetensors").write_bytes(b"a")
    monkeypatch.setattr(works, "CHECKPOINT", checkpoint)
    works.open_work(tmp_path / "work", "s")
    if changed == "weights":
        (checkpoint / "unet.safetensors").write_bytes(b"b")
    elif changed != "study":
        monkeypatch.setattr(Clip, changed, lambda *_: Image.new("RGB", (128, 128)))
    with pytest.raises(InputError, match=r"work keeps results of other weights, .*: remove it, or name"):
        works.open_work(tmp_path / "work", "t" if changed == "study" else "s")


@pytest.mark.parametrize("tool", ["puppet-study", "puppet-prices", "puppet-refining"])
def test_every_study_refuses_a_folder_that_is_not_its_own(tool, tmp_path, capsys):
    pytest.importorskip("torch")
    (tmp_path / "photo.png").touch()
    assert main([tool, "--work", str(tmp_path)]) == 2
    assert "is not empty and has no made-from.json: expected a folder of this study" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_without_a_checkpoint_there_is_nothing_to_study(tmp_path, monkeypatch):
    monkeypatch.setattr(works, "CHECKPOINT", tmp_path / "none")
    with pytest.raises(UserError, match="none is missing: teach the puppet checkpoint first, with `make puppet`"):
        works.open_work(tmp_path / "work", "s")
    assert not (tmp_path / "work").exists()


def test_a_case_is_made_once(tmp_path, monkeypatch):
    made = []

    def embed(folder, _):
        made.append(folder.name)
        (folder / "identity.npy").touch()

    monkeypatch.setattr(works, "embed_reference", embed)
    assert works.puppet_case(tmp_path, 3, 2) == works.puppet_case(tmp_path, 3, 2) == tmp_path / "case-3-2"
    assert made == ["case-3-2"] and (tmp_path / "case-3-2" / "truth" / "frame_1.png").exists()


def test_an_engine_set_is_exported_once_and_a_failure_ends_the_study(tmp_path, monkeypatch):
    asked = []

    def export(words):
        asked.append(words)
        return 2 if "--bad" in words else (tmp_path / "engines-good").mkdir()

    monkeypatch.setattr(works, "sa_export", export)
    for _ in range(2):
        assert works.engine_set(tmp_path, "good", ["--refine"]) == tmp_path / "engines-good"
    assert len(asked) == 1 and asked[0][-1] == "--refine"
    with pytest.raises(UserError, match="failed above"):
        works.engine_set(tmp_path, "other", ["--bad"])
