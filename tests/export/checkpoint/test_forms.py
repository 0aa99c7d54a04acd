"""Every form of checkpoint that people have is read as the published one, or refused in words that help."""

import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy
from forms import READ, REFUSED, as_float32, bfloat16, by_paddle
from weight_files import write_pdparams

from sa.benchmarks.fixtures.checkpoints import SMALL_ARCFACE
from sa.benchmarks.fixtures.layout import PLACES
from sa.export import inspection
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.checkpoint.tensor_files import open_tensor_file
from sa.export.cli import main
from sa.export.engines.roles import slots, slots_by_part
from sa.export.networks.arcface import ArcFace
from sa.runtime.errors import InputError


@pytest.fixture(scope="module")
def published(checkpoint) -> Path:
    return checkpoint("recipe_basic")


@pytest.fixture(scope="module")
def expected(published) -> dict:
    return {"arcface": slots(ArcFace(SMALL_ARCFACE)), **slots_by_part(Checkpoint(published))}


@pytest.fixture
def folder(published, tmp_path) -> Path:
    """The published checkpoint, by links, which do not follow when a folder is moved but need no space."""
    return shutil.copytree(published, tmp_path / "of one's own" / "weights", copy_function=_link)


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(source)


@pytest.fixture
def written(folder, published, expected, request):
    """The folder with one part in another form; the form, and the arrays of the part."""
    form = request.param
    arrays = safetensors.numpy.load_file(published / PLACES[form.part])
    (folder / PLACES[form.part]).unlink()
    form.write(folder, arrays, expected[form.part])
    return folder, form, arrays


@pytest.fixture
def inspect(expected, monkeypatch):
    """sa-export --inspect, without building the networks every time."""
    monkeypatch.setattr(inspection, "slots_by_part", lambda checkpoint: expected)
    return lambda folder: main(["--inspect", str(folder)])


@pytest.mark.parametrize("written", READ, ids=lambda form: form.name, indirect=True)
def test_a_form_is_read(written, expected, inspect, capsys):
    folder, form, arrays = written
    opened = Checkpoint(folder / form.given)
    weights = opened.weights(form.part, expected[form.part])
    for name, slot in expected[form.part].items():
        wanted = arrays[name] if form.halved is None else as_float32(form.halved(arrays[name]))
        assert np.array_equal(weights.read(name), wanted.T if slot.linear else wanted), name
    there = folder.parent.resolve() / folder.name if form.given != "." else folder
    said = [note.format(folder=folder / ".." / folder.name if form.given == ".." else there) for note in form.notes]
    assert [note.removeprefix(f"{opened.path(form.part)}: ") for note in opened.notes] == said
    assert {source.path for source in opened.sources()} >= {
        path.relative_to(opened.folder).as_posix() for path in opened.files(form.part)
    }
    assert inspect(folder / form.given) == 0
    shown = capsys.readouterr().err
    assert shown.count("yes") == 6
    for note in said:
        assert "".join(note.split()) in "".join(shown.split())


@pytest.mark.parametrize("written", REFUSED, ids=lambda form: form.name, indirect=True)
def test_a_form_is_refused_in_words_that_help(written, expected, inspect, capsys):
    folder, form, _ = written
    with pytest.raises(InputError) as caught:
        Checkpoint(folder / form.given).weights(form.part, expected[form.part])
    for words in form.refused:
        assert words.format(folder=folder) in str(caught.value)
    assert inspect(folder / form.given) == 2
    assert str(caught.value) in capsys.readouterr().err


@pytest.mark.parametrize("tensors", [False, True])
def test_the_writer_of_pdparams_writes_what_paddle_writes(tmp_path, expected, published, tensors):
    """ppdiffusers gives paddle.save NumPy arrays, training scripts give it tensors."""
    arrays = by_paddle(safetensors.numpy.load_file(published / PLACES["arcface"]), expected["arcface"])
    arrays["half"] = bfloat16(np.arange(6, dtype=np.float32))
    ours = write_pdparams(tmp_path / "ours.pdparams", arrays)
    theirs = tmp_path / "theirs.pdparams"
    given = {name: paddle.to_tensor(array) for name, array in arrays.items()} if tensors else arrays
    if tensors:
        given["half"] = paddle.arange(6).astype("bfloat16")
    paddle.save(given, str(theirs))
    assert tensors or ours.read_bytes() == theirs.read_bytes()
    opened = open_tensor_file(theirs)
    assert list(opened) == list(open_tensor_file(ours))
    for name, tensor in open_tensor_file(ours).items():
        assert opened[name].dtype == tensor.dtype
        assert np.array_equal(opened[name].read(), tensor.read()), name
