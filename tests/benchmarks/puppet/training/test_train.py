"""How trained weights and their logs come into a checkpoint folder."""

import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from sa.benchmarks.puppet import CHECKPOINT  # noqa: E402
from sa.benchmarks.puppet.draw.clips import SIZE  # noqa: E402
from sa.benchmarks.puppet.training import train  # noqa: E402
from sa.benchmarks.puppet.training.album import Drawing  # noqa: E402
from sa.benchmarks.puppet.training.loop import BEST, LOG  # noqa: E402
from sa.benchmarks.puppet.training.machine import Machine  # noqa: E402
from sa.runtime.errors import InputError  # noqa: E402


@pytest.fixture
def work(tmp_path):
    found = train.Work(tmp_path, Machine(), workers=0)
    shutil.copytree(CHECKPOINT, found.checkpoint)
    return found


def trained_further(work, value):
    """A folder as `--more decoder` leaves it."""
    folder = work.folder / "decoder-more"
    folder.mkdir()
    best = work.vae().state_dict()
    best["decoder.time_conv_out.bias"][:] = value
    torch.save(best, folder / BEST)
    (folder / LOG).write_text("step,loss\n1,2\n")


def test_published_weights_replace_the_old_ones_and_their_logs_are_numbered(work):
    logs = work.checkpoint / train.LOGS
    before = {log.name for log in logs.iterdir()}
    (work.folder / "vae-more").mkdir()
    (work.folder / "vae-more" / LOG).write_text("step,loss\n1,2\n")  # goes on, so its log is not yet the checkpoint's
    for value in (0.25, 0.5):
        trained_further(work, value)
        train.publish_more(work, "decoder")
        assert work.vae().decoder.time_conv_out.bias.tolist() == [value] * 3
        assert not (work.folder / "decoder-more").exists()
    earlier = sum(name.startswith("decoder-more.") for name in before)
    assert {log.name for log in logs.iterdir()} - before == {
        f"decoder-more.{earlier + 1}.csv",
        f"decoder-more.{earlier + 2}.csv",
    }


def test_a_share_of_the_way_to_the_new_weights_can_be_published(work):
    old = work.vae().decoder.time_conv_out.bias
    trained_further(work, 0.25)
    train.publish_more(work, "decoder", 0.5)
    assert torch.allclose(work.vae().decoder.time_conv_out.bias, (old + 0.25) / 2, atol=1e-3)


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_a_share_beyond_the_new_weights_is_refused(work, share):
    trained_further(work, 0.25)
    with pytest.raises(InputError, match=r"--share .*: expected a number above 0 and at most 1"):
        train.publish_more(work, "decoder", share)
    assert (work.folder / "decoder-more").exists()


def test_what_is_delivered_leaves_the_checkpoints_own_page_alone(work, tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "README.md").write_text("written since")
    monkeypatch.setattr(train, "CHECKPOINT", repository)
    (work.checkpoint / "README.md").write_text("as it was copied")
    trained_further(work, 0.25)
    train.publish_more(work, "decoder")
    train.deliver(work.folder)
    assert (repository / "README.md").read_text() == "written since"
    copied = {path.relative_to(repository) for path in repository.rglob("*")}
    assert copied == {path.relative_to(work.checkpoint) for path in work.checkpoint.rglob("*")}
    vae = train.published(repository, "vae", train.Vae(train.published_vae_config(repository)))
    assert vae.decoder.time_conv_out.bias.tolist() == [0.25] * 3


def test_the_vae_goes_on_with_whole_pictures(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(train.Work, "drawn", lambda self: nullcontext(("album", "drawn", "held album", "held drawn")))
    monkeypatch.setattr(train.vae, "train_pictures", lambda *given, crop: asked.append((given, crop)))
    work = train.Work(tmp_path, Machine(), workers=0)
    train.train_more(work, "vae", 7)
    ((folder, network, schedule, *data, machine), crop) = asked[0]
    assert (folder, schedule.steps, machine, crop) == (tmp_path / "vae-more", 7, work.machine, SIZE)
    assert data == ["drawn", "held drawn"]
    assert torch.equal(network.encoder.conv_in.weight, work.vae().encoder.conv_in.weight)  # the repository's


def test_what_was_not_trained_cannot_be_published(work):
    with pytest.raises(InputError, match=r"holds no weights yet: expected those of --more decoder; train it first"):
        train.publish_more(work, "decoder")


def test_clips_from_a_later_number_have_an_album_of_their_own(work, monkeypatch):
    monkeypatch.setattr(Drawing, "wait", lambda *_: None)
    later, usual = replace(work, clips=1, first=3000), replace(work, clips=1)
    with later.drawn() as (one, *_), usual.drawn() as (other, *_):
        assert (one.first, other.first) == (3000, 0)
        assert one.folder != other.folder
