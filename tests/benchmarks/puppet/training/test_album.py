"""Drawn clips on disk: the same for any number of workers, and finished after an interruption."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")

from sa.benchmarks.peers.networks.arcface import IResNet  # noqa: E402
from sa.benchmarks.puppet.draw.clips import clip  # noqa: E402
from sa.benchmarks.puppet.networks.vae import Vae  # noqa: E402
from sa.benchmarks.puppet.training import examples, publish  # noqa: E402
from sa.benchmarks.puppet.training.album import FRAMES, REFERENCES, Album, Drawing  # noqa: E402
from sa.benchmarks.puppet.training.machine import Machine, OutOfTime  # noqa: E402
from sa.runtime.errors import InputError  # noqa: E402


def test_clips_are_drawn_with_their_poses(tmp_path):
    album = Album(tmp_path, "train", 1, first=7, part=1)
    with Drawing(album, workers=0) as drawing:
        drawing.wait(Machine())
    arrays = album.arrays()
    shown = {clip("train", 7).picture(moment).tobytes(): moment for moment in range(210)}
    moments = [shown[picture.tobytes()] for picture in arrays["pictures"][0]]
    assert len(moments) == FRAMES and set(np.diff(moments[REFERENCES:])) == {1}
    assert arrays["poses"][0].reshape(FRAMES, -1).max(axis=1).min() > 0
    assert arrays["boxes"][0].tolist() == [list(clip("train", 7).face_box(moment)) for moment in moments]
    assert arrays["hands"][0].tolist() == [clip("train", 7).hand_boxes(moment).tolist() for moment in moments]


def test_a_part_does_not_depend_on_who_draws_it(tmp_path):
    here, there = Album(tmp_path / "here", "train", 3, part=1), Album(tmp_path / "there", "train", 3, part=1)
    with Drawing(here, workers=0) as drawing:
        drawing.wait(Machine())
    for part in (2, 0):  # as workers would, in any order
        there.draw(part)
    with Drawing(there, workers=0) as drawing:  # the rest, after an interruption
        drawing.wait(Machine())
    for name, array in here.arrays().items():
        assert np.array_equal(array, there.arrays()[name])


def test_workers_draw_ahead(tmp_path):
    album = Album(tmp_path, "train", 1, part=1)
    with Drawing(album, workers=1) as drawing:
        drawing.wait(Machine(seconds=300))
    assert album.drawn(0) and album.arrays()["pictures"][0].any()


def test_waiting_ends_with_the_time(tmp_path):
    with Drawing(Album(tmp_path, "train", 1, part=1), workers=0) as drawing, pytest.raises(OutOfTime):
        drawing.wait(Machine(seconds=0))


def test_an_album_of_another_length_is_refused(tmp_path):
    Album(tmp_path, "train", 1, part=1).arrays()
    with pytest.raises(InputError, match="expected"):
        Album(tmp_path, "train", 2, part=1).arrays()


def test_a_drawn_album_without_a_file_is_refused(tmp_path):
    album = Album(tmp_path, "train", 1, part=1)
    album.arrays()
    (tmp_path / "hands.npy").unlink()
    album.draw(0)  # nothing was drawn yet, so nothing is lost
    (tmp_path / "hands.npy").unlink()
    with pytest.raises(InputError, match=r"no hands\.npy.*remove the folder"):
        album.arrays()


def test_other_drawings_are_refused(tmp_path):
    album = Album(tmp_path, "train", 2, part=1)
    album.draw(1)  # part 0 is not there yet
    Drawing(album, workers=0)  # today's
    with pytest.raises(InputError, match=r"holds other drawings: expected train clips from 1 on.*remove it and the"):
        Drawing(Album(tmp_path, "train", 2, first=1, part=1), workers=0)
    album.arrays()["pictures"][1, 5, 0, 0] += 1  # as by an older version
    with pytest.raises(InputError, match="holds other drawings"):
        Drawing(album, workers=0)


def test_what_is_encoded_belongs_to_its_networks(tmp_path):
    album = Album(tmp_path, "train", 1, part=1)
    album.draw(0)
    torch.manual_seed(0)
    vae = Vae(publish.CONFIGS[publish.VAE_CONFIG]).eval()
    arcface = IResNet((1, 1, 1, 1), 6, 512).eval()
    drawn = examples.Drawn.load(album, Machine())
    made = examples.encode(album, drawn, vae, arcface, Machine())
    again = examples.encode(album, drawn, vae, arcface, Machine())
    assert torch.equal(made.latents, again.latents) and made.identities.std() > 0
    distance = (made.latents[0, :REFERENCES] / vae.scaling_factor - made.references[0]).abs().max()
    assert 0 < distance < 1  # the reference is encoded with a little noise
    vae.quant_conv.bias.data += 1
    moved = examples.encode(album, drawn, vae, arcface, Machine())
    assert torch.allclose(moved.references[:, :, :4], made.references + 1, atol=1e-4)
