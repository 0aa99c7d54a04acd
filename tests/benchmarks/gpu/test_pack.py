"""Packs: engine sets come back byte for byte, and a pack that anybody may have written can do no harm."""

import io
import json
import lzma
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_set

from sa.benchmarks import gpu_check
from sa.benchmarks.gpu import archive, unpack
from sa.benchmarks.gpu.layout import CONTENTS
from sa.benchmarks.gpu.pack import pack
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import MANIFEST
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import InputError

QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_set.write(tmp_path_factory.mktemp("sets") / "tiny")


@pytest.fixture(scope="module")
def packed(folder):
    path = folder.parent / "pack.tar.xz"
    pack([folder], path, QUIET)
    return path


def drawn(path, data, **options):
    return unpack.unpack(path, data, QUIET, jobs=1, **options)


def test_every_file_comes_back_byte_for_byte(folder, packed, tmp_path):
    folders, problems = drawn(packed, tmp_path)
    assert folders == [tmp_path / "tiny"] and not problems
    names = sorted(path.name for path in folder.iterdir())
    assert sorted(path.name for path in folders[0].iterdir()) == names and len(names) == 17
    for name in names:
        assert (folders[0] / name).read_bytes() == (folder / name).read_bytes()
    EngineSet.open(folders[0], verify=True)


def test_a_pack_holds_no_weights_and_the_same_sets_make_the_same_pack(folder, packed, tmp_path):
    assert not [name for name in archive.read(packed) if name.endswith(".weights")]
    pack([folder], tmp_path / "again.tar.xz", QUIET)
    assert (tmp_path / "again.tar.xz").read_bytes() == packed.read_bytes()


def test_a_set_that_is_there_stays(packed, tmp_path, monkeypatch):
    drawn(packed, tmp_path)
    monkeypatch.setattr(unpack, "_draw", lambda sets, *_: sets and pytest.fail("drawn again"))
    assert drawn(packed, tmp_path) == ([tmp_path / "tiny"], [])


def test_weights_that_are_not_by_recipe_are_named(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    path = other / "pose_net.weights"
    path.write_bytes(path.read_bytes()[:-1] + b"\x41")
    manifest = json.loads((other / MANIFEST).read_text())
    record = next(f for e in manifest["engines"] for f in e["files"] if f["name"] == path.name)
    record["sha256"] = tiny_set._record(path)["sha256"]
    (other / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"pose_net.weights: conv.weight is not what the recipe draws"):
        pack([other], tmp_path / "pack.tar.xz", QUIET)


def test_names_that_a_pack_cannot_hold_are_said_before_anything_is_read(folder, tmp_path):
    for folders in ([folder, tmp_path / "elsewhere" / folder.name], [tmp_path / "my set"], [Path(".")]):
        with pytest.raises(InputError, match="cannot name a set of the pack"):
            pack(folders, tmp_path / "pack.tar.xz", QUIET)


def test_sets_for_other_libraries_are_not_packed(folder, tmp_path, monkeypatch):
    manifest = SimpleNamespace(backend="paddle", engines=())
    monkeypatch.setattr("sa.benchmarks.gpu.pack.read_manifest", lambda _: (manifest, ""))
    monkeypatch.setattr("sa.benchmarks.gpu.pack.check_files", lambda *_, **__: None)
    with pytest.raises(InputError, match="was made with paddle or --prepack"):
        pack([folder], tmp_path / "pack.tar.xz", QUIET)


def changed(packed, path, change):
    """A pack with its table of contents or manifest changed."""
    members = archive.read(packed)
    for name in (CONTENTS, f"tiny/{MANIFEST}"):
        content = json.loads(members[name])
        change(name, content)
        members[name] = json.dumps(content).encode()
    archive.write(path, members)
    return path


def of_contents(edit):
    return lambda name, content: edit(content["sets"][0]["weights"][0]) if name == CONTENTS else None


def of_manifest(edit):
    return lambda name, content: edit(content) if name != CONTENTS else None


@pytest.mark.parametrize(
    "change, said",
    [
        (of_contents(lambda file: file.update(name="../evil")), "weights.0.name cannot be '../evil'"),
        (of_contents(lambda file: file.update(name="other.weights")), "the manifest lists the weight files"),
        (of_contents(lambda file: file.update(part="os")), "weights.0.part must"),
        (of_contents(lambda file: file["pieces"][0].update(offset=1 << 40)), "a tensor of .* ends at byte"),
        (of_contents(lambda file: file["pieces"][0].update(offset=-1)), "offset must be at least 0"),
        (of_contents(lambda file: file["pieces"][0].update(shape=[1 << 24, 1 << 24])), "has more than .* numbers"),
        (of_contents(lambda file: file["pieces"][0].update(stop=10_000)), "has no columns 0 to 10000"),
        (of_contents(lambda file: file["pieces"][0].update(dtype="O")), "dtype must be '<f4' or '<f2'"),
        (of_contents(lambda file: file["pieces"][0].update(code="evil")), "code is not known"),
        (of_manifest(lambda manifest: manifest.update(format_version=2)), "engine sets of format version 2"),
        (of_manifest(lambda manifest: manifest["engines"][0].update(program="a/b")), "program cannot be 'a/b'"),
        (of_manifest(lambda manifest: manifest["engines"][0]["files"][1].update(bytes=1 << 50)), "weights are larger"),
    ],
)  # fmt: skip
def test_a_pack_that_is_not_sound_is_refused_in_one_sentence(packed, tmp_path, change, said):
    path = changed(packed, tmp_path / "changed.tar.xz", change)
    with pytest.raises(InputError, match=said):
        drawn(path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_drawn_file_that_differs_is_named_and_its_set_left_out(packed, tmp_path, capsys):
    def other_hash(manifest):
        manifest["engines"][4]["files"][1]["sha256"] = "0" * 64

    path = changed(packed, tmp_path / "changed.tar.xz", of_manifest(other_hash))
    folders, problems = drawn(path, tmp_path / "data")
    assert folders == [] and not (tmp_path / "data" / "tiny").exists()
    (sentence,) = problems
    assert sentence.startswith("tiny/unet.weights does not have the SHA-256 of its manifest")
    assert gpu_check.main(["--unpack", str(path), "--data", str(tmp_path / "data")]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"gpu-check: {sentence}"


def test_a_changed_program_is_named(packed, tmp_path):
    members = archive.read(packed)
    members["tiny/unet.onnx"] += b"\0"
    archive.write(tmp_path / "changed.tar.xz", members)
    _, (sentence,) = drawn(tmp_path / "changed.tar.xz", tmp_path / "data")
    assert sentence.startswith("tiny/unet.onnx does not have the SHA-256")


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda members: members.pop("tiny/unet.onnx"), "tiny lacks unet.onnx"),
        (lambda members: members.update({"tiny/more.onnx": b""}), "'tiny/more.onnx' belongs to none"),
        (lambda members: members.pop(CONTENTS), "is not sound"),
        (lambda members: members.update({"../evil": b""}), r"holds '\.\./evil', which no pack does"),
        (lambda members: members.update({"/etc/evil": b""}), "holds '/etc/evil', which no pack does"),
        (lambda members: members.update({"tiny/a/b": b""}), "holds 'tiny/a/b', which no pack does"),
    ],
)
def test_members_that_lack_or_do_not_belong_are_refused(packed, tmp_path, change, said):
    members = archive.read(packed)
    change(members)
    archive.write(tmp_path / "changed.tar.xz", members)
    with pytest.raises(InputError, match=said):
        drawn(tmp_path / "changed.tar.xz", tmp_path / "data")


def tar(path, *entries):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as written:
        for entry in entries:
            written.addfile(entry)
    path.write_bytes(lzma.compress(packed.getvalue()))
    return path


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_members_that_are_no_files_are_refused(tmp_path, kind):
    entry = tarfile.TarInfo("tiny")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with pytest.raises(InputError, match="holds 'tiny', which no pack does"):
        archive.read(tar(tmp_path / "pack.tar.xz", entry))


def test_a_sparse_member_cannot_claim_memory(tmp_path):
    entry = tarfile.TarInfo("tiny")
    entry.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": f"{1 << 40},0"}
    entry.pax_headers |= {"GNU.sparse.size": str(1 << 40), "GNU.sparse.name": "tiny"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as written:
        written.addfile(entry)
    (tmp_path / "pack.tar.xz").write_bytes(lzma.compress(packed.getvalue()))
    with pytest.raises(InputError, match="which no pack does"):
        archive.read(tmp_path / "pack.tar.xz")


def test_sizes_are_bounded(packed, tmp_path, monkeypatch):
    (tmp_path / "bomb.tar.xz").write_bytes(lzma.compress(b"\0" * (4 << 20)))
    monkeypatch.setattr(archive, "UNPACKED_LIMIT", 1 << 20)
    with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
        archive.read(tmp_path / "bomb.tar.xz")
    monkeypatch.setattr(archive, "MEMBER_LIMIT", 3)
    with pytest.raises(InputError, match="holds more than 3 files"):
        archive.read(packed)
    monkeypatch.setattr(archive, "FILE_LIMIT", 100)
    with pytest.raises(InputError, match="no pack is that large"):
        archive.read(packed)


@pytest.mark.parametrize("content", [b"", b"no xz", lzma.compress(b"no tar" * 1000)])
def test_what_is_no_pack_is_refused(tmp_path, content):
    (tmp_path / "pack.tar.xz").write_bytes(content)
    with pytest.raises(InputError, match=r"is no pack or damaged|ends too early|is not sound"):
        drawn(tmp_path / "pack.tar.xz", tmp_path / "data")


def test_a_truncated_or_missing_pack_is_refused(packed, tmp_path):
    (tmp_path / "half.tar.xz").write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"ends too early|is no pack or damaged"):
        archive.read(tmp_path / "half.tar.xz")
    with pytest.raises(InputError, match="is missing or no file"):
        archive.read(tmp_path / "none.tar.xz")


def test_too_little_room_and_unknown_names_are_said_first(packed, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="holds no engine set huge: choose from tiny"):
        drawn(packed, tmp_path / "data", names=["huge"])
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda place: SimpleNamespace(free=100))
    with pytest.raises(InputError, match=r"has 0\.0 GiB free, but the engine sets take .* --sets fewer"):
        drawn(packed, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_folder_of_the_users_is_not_overwritten(packed, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and is no engine set"):
        drawn(packed, tmp_path)
    assert (tmp_path / "tiny" / "thesis.txt").read_text() == "mine"
