"""sa-comfyui install."""

import shutil
from pathlib import Path

import pytest

from sa.runtime.comfyui.cli import main
from sa.runtime.comfyui.install import NAME, PACK


@pytest.fixture
def comfyui(tmp_path) -> Path:
    (tmp_path / "custom_nodes").mkdir()
    return tmp_path


def test_it_links_the_pack_and_takes_it_away(comfyui, capsys):
    place, engines = comfyui / "custom_nodes" / NAME, comfyui / "models" / NAME
    for _ in range(2):  # again is as well
        assert main(["install", str(comfyui)]) == 0
        assert place.is_symlink() and place.resolve() == PACK.resolve() and engines.is_dir()
    assert f"linked into {place}; put engine sets into {engines}" in capsys.readouterr().out
    (engines / "mine").mkdir()
    assert main(["install", str(comfyui), "--remove"]) == 0
    assert not place.is_symlink() and (engines / "mine").is_dir() and PACK.is_dir()
    assert main(["install", str(comfyui), "--remove"]) == 0
    assert f"{place} was not there" in capsys.readouterr().out


def test_it_copies_where_links_are_not_allowed(comfyui, capsys, monkeypatch):
    def refuse(*arguments, **further):
        raise OSError("a privilege is missing")

    place = comfyui / "custom_nodes" / NAME
    monkeypatch.setattr(Path, "symlink_to", refuse)
    for _ in range(2):
        assert main(["install", str(comfyui)]) == 0
    assert f"copied into {place}" in capsys.readouterr().out
    names = {path.relative_to(PACK) for path in PACK.rglob("*") if "__pycache__" not in path.parts}
    assert {path.relative_to(place) for path in place.rglob("*")} == names and not place.is_symlink()
    assert main(["install", str(comfyui), "--remove"]) == 0 and not place.exists()


def test_a_broken_link_of_ours_is_replaced(comfyui):
    place = comfyui / "custom_nodes" / NAME
    place.symlink_to(comfyui / "uninstalled")
    assert main(["install", str(comfyui)]) == 0 and place.resolve() == PACK.resolve()


@pytest.mark.parametrize("flags", [(), ("--remove",)])
@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_what_is_not_ours_stays(kind, flags, comfyui, capsys):
    place, other = comfyui / "custom_nodes" / NAME, comfyui / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text('[project]\nname = "another"\n')
    if kind == "folder":
        shutil.copytree(other, place)
    elif kind == "link":
        place.symlink_to(other)
    else:
        place.write_text("")
    assert main(["install", str(comfyui), *flags]) == 2
    assert "remove or rename it" in capsys.readouterr().err
    assert place.exists() and other.exists()


def test_another_folder_is_no_comfyui(tmp_path, capsys):
    assert main(["install", str(tmp_path)]) == 2
    assert f"{tmp_path} has no folder custom_nodes: give the folder that ComfyUI's main.py is in." in (
        capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())
