"""Cached deep features behind the run's protocol: which calls are whole, and which feature a shallow one gets."""

from types import SimpleNamespace

import numpy as np
import pytest

from sa.runtime.backends.base import Handle
from sa.runtime.backends.composed.caching_unet import CachingUNet
from sa.runtime.backends.video_unet import VideoConditions

FRAMES, WIDTH, CONTEXT = 3, 8, 6
ROLES = ["unet", "time_embedding", "unet_shallow"]


class OnDevice(Handle):
    """The deep feature as a GPU keeps it: the array is for the stand-ins alone."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __getitem__(self, part):
        return OnDevice(self.array[part])


class Recorder:
    """Stands for all four engines and keeps which calls were made."""

    def __init__(self):
        self.calls, self.open, self.unloaded = [], [], []
        self.fails: str | None = None  # a role that cannot be opened

    def opened(self, role):
        if role == self.fails:
            raise MemoryError
        self.open.append(role)
        return FormulaEngine(self, role)

    @property
    def unet_calls(self):
        return [role for role in self.calls if role.startswith("unet")]


class FormulaEngine:
    """The deep feature of a call is its latents and the noise level; a shallow call gives the feature it was given."""

    contract = SimpleNamespace(inputs=[SimpleNamespace(largest=(FRAMES, 4, 2, 2))])  # of the conditioning engine

    def __init__(self, recorder, role):
        self.recorder, self.role = recorder, role

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self.close()

    def close(self):
        self.recorder.open.remove(self.role)

    def unload(self):
        self.recorder.unloaded.append(self.role)

    def warnings(self):
        return (f"of the {self.role}",)

    def infer(self, inputs, keep=()):
        self.recorder.calls.append(self.role)
        if self.role == "conditioning":
            image = inputs["image_latents"]
            made = {"constants": np.ones((1, 9), np.float32), "positions": np.ones((FRAMES, 5), np.float32)}
            return {"image_features": np.repeat(image, WIDTH // 4, axis=1), **made}
        if self.role == "time_embedding":
            return {"time_rows": np.full((1, 7), inputs["timestep"][0], np.float32)}
        branches = len(inputs["posed"])
        assert inputs["latents"].shape[0] == 1 and len(inputs["constants"]) == branches
        if self.role == "unet_shallow":
            assert inputs["deep"].shape[0] == branches and not keep
            return {"velocity": inputs["deep"].array}
        assert tuple(keep) == ("deep",)
        found = inputs["latents"] + inputs["time_rows"][0, 0]
        made = np.concatenate([found, -found])[:branches]
        return {"velocity": 0 * made, "deep": OnDevice(made)}


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def unet(recorder):
    with CachingUNet(recorder.opened, 3) as unet:
        yield unet
    assert recorder.open == []


def conditions(branches=2):
    ids = np.array([[6, 127, 0.02]], np.float32)
    return VideoConditions(np.ones((branches, 4, 2, 2), np.float32), np.ones((branches, 5, CONTEXT), np.float32), ids)


POSES = np.zeros((1, FRAMES, WIDTH, 2, 2), np.float32)


def latents(value):
    return np.full((1, FRAMES, 4, 2, 2), value, np.float32)


def steps(unet, *times, tiles=1, branches=None):
    """The velocities' first number by step and tile; latents are the number of the tile plus one."""
    found = []
    for time in times:
        unet.begin_step(np.float32(time), branches)
        found.append([unet.velocity(latents(tile + 1), POSES, tile).flat[0] for tile in range(tiles)])
    return found


def test_every_third_step_is_whole_and_the_others_get_its_feature(unet, recorder):
    unet.begin_video(conditions())
    found = steps(unet, 10, 20, 30, 40, 50, 60, 70)
    assert recorder.unet_calls == ["unet", *["unet_shallow"] * 2] * 2 + ["unet"]
    assert found == [[0], [11], [11], [0], [41], [41], [0]]  # the feature is 1, the latents, plus the whole step's time


def test_every_tile_has_a_feature_of_its_own(unet, recorder):
    unet.begin_video(conditions())
    assert steps(unet, 10, 20, 30, tiles=3) == [[0, 0, 0], [11, 12, 13], [11, 12, 13]]
    assert recorder.unet_calls == ["unet"] * 3 + ["unet_shallow"] * 6


def test_both_branches_have_features_of_their_own(unet):
    unet.begin_video(conditions())
    steps(unet, 10)
    unet.begin_step(np.float32(20))
    velocity = unet.velocity(latents(1), POSES)
    np.testing.assert_array_equal(velocity, np.concatenate([latents(11), latents(-11)]))


def test_features_of_fewer_branches_make_the_call_whole(unet, recorder):
    unet.begin_video(conditions(2))
    steps(unet, 10, tiles=2, branches=1)
    assert steps(unet, 20, 30, tiles=2) == [[0, 0], [21, 22]]
    assert recorder.unet_calls == ["unet"] * 4 + ["unet_shallow"] * 2
    steps(unet, 40)  # and steps 0, 3, 6 are whole as ever
    assert recorder.unet_calls[-1] == "unet"


def test_of_features_of_more_branches_a_call_takes_the_first(unet, recorder):
    unet.begin_video(conditions(2))
    steps(unet, 10)
    unet.begin_step(np.float32(20), 1)
    np.testing.assert_array_equal(unet.velocity(latents(1), POSES), latents(11))
    assert recorder.unet_calls == ["unet", "unet_shallow"]


def test_another_video_begins_with_a_whole_step(unet, recorder):
    unet.begin_video(conditions())
    steps(unet, 10, 20)
    unet.begin_video(conditions())
    assert steps(unet, 30, 40) == [[0], [31]]
    assert recorder.unet_calls == ["unet", "unet_shallow"] * 2


def test_both_unets_are_unloaded_and_the_video_goes_on(unet, recorder):
    unet.begin_video(conditions())
    steps(unet, 10)
    unet.unload()
    assert sorted(recorder.unloaded) == sorted(ROLES)
    assert steps(unet, 20) == [[11]]
    assert unet.warnings() == ("of the unet", "of the unet_shallow")


@pytest.mark.parametrize("role", ROLES)
def test_a_failure_to_open_leaves_nothing_open(recorder, role):
    recorder.fails = role
    with pytest.raises(MemoryError):
        CachingUNet(recorder.opened, 2)
    assert recorder.open == []
