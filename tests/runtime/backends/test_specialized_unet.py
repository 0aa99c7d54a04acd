"""The specialized UNet's three engines behind the plain contract: what is asked of each, and how often."""

from types import SimpleNamespace

import numpy as np
import pytest

from sa.runtime.backends.composed.specialized_unet import ENGINES, SpecializedUNet
from sa.runtime.contract import TensorSpec

BRANCHES, FRAMES, WIDTH, CONTEXT = (1, 2), 3, 8, 6


def specs(**shapes):
    return tuple(TensorSpec(name=name, shape=shape) for name, shape in shapes.items())


CONTRACTS = {
    "conditioning": SimpleNamespace(
        inputs=specs(image_latents=(FRAMES, 4, 2, 2), encoder_hidden_states=(1, 5, CONTEXT))
    ),
    "time_embedding": SimpleNamespace(inputs=specs(timestep=(1,), added_time_ids=(1, 3))),
    "unet": SimpleNamespace(
        inputs=specs(
            latents=(BRANCHES, FRAMES, 4, 2, 2),
            frame_features=(BRANCHES, FRAMES, WIDTH, 2, 2),
            time_rows=(1, 7),
            constants=(BRANCHES, 9),
            positions=(FRAMES, 5),
        ),
        outputs=specs(velocity=(BRANCHES, FRAMES, 4, 2, 2)),
    ),
}


class Recorder:
    """Stands for all three engines and keeps what each was given."""

    def __init__(self):
        self.calls = []
        self.read_only = []
        self.open = []

    def opened(self, role):
        self.open.append(role)
        return FormulaEngine(self, role)

    def given(self, role):
        return [inputs for name, inputs in self.calls if name == role]


class FormulaEngine:
    def __init__(self, recorder, role):
        self.recorder, self.role = recorder, role

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self.close()

    def close(self):
        self.recorder.open.remove(self.role)

    def infer(self, inputs, keep=()):
        self.recorder.read_only.append({name: value for name, value in inputs.items() if not value.flags.writeable})
        self.recorder.calls.append((self.role, {name: value.copy() for name, value in inputs.items()}))
        if self.role == "conditioning":
            image, tokens = inputs["image_latents"], inputs["encoder_hidden_states"]
            return {
                "image_features": np.repeat(image, WIDTH // 4, axis=1),
                "constants": np.full((1, 9), tokens.sum(), np.float32),
                "positions": np.ones((FRAMES, 5), np.float32),
            }
        if self.role == "time_embedding":
            return {"time_rows": np.full((1, 7), inputs["timestep"][0], np.float32)}
        return {"velocity": inputs["latents"] + inputs["constants"][:, :1, None, None, None]}


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def unet(recorder):
    with SpecializedUNet(CONTRACTS, recorder.opened) as unet:
        yield unet


@pytest.fixture
def inputs():
    generator = np.random.default_rng(0)
    given = {
        "sample": generator.standard_normal((2, FRAMES, 8, 2, 2), np.float32),
        "timestep": np.array([0.5], np.float32),
        "added_time_ids": np.array([[6, 127, 0.02]], np.float32),
        "encoder_hidden_states": generator.standard_normal((2, 5, CONTEXT), np.float32),
        "pose_latents": generator.standard_normal((2, FRAMES, WIDTH, 2, 2), np.float32),
    }
    return given


def test_the_contract_is_the_plain_unets(unet):
    assert {spec.name: spec.shape for spec in unet.contract.inputs} == {
        "sample": (BRANCHES, FRAMES, 8, 2, 2),
        "timestep": (1,),
        "added_time_ids": (1, 3),
        "encoder_hidden_states": (BRANCHES, 5, CONTEXT),
        "pose_latents": (BRANCHES, FRAMES, WIDTH, 2, 2),
    }
    assert [spec.name for spec in unet.contract.outputs] == ["velocity"]


def test_each_engine_gets_its_share(unet, recorder, inputs):
    velocity = unet.infer(inputs)["velocity"]
    assert [role for role, _ in recorder.calls] == ["conditioning", "conditioning", "time_embedding", "unet"]
    for branch, given in enumerate(recorder.given("conditioning")):
        np.testing.assert_array_equal(given["image_latents"], inputs["sample"][branch, :, 4:])
        np.testing.assert_array_equal(
            given["encoder_hidden_states"], inputs["encoder_hidden_states"][branch : branch + 1]
        )
    (given,) = recorder.given("unet")
    np.testing.assert_array_equal(given["latents"], inputs["sample"][:, :, :4])
    image = np.repeat(inputs["sample"][:, :, 4:], WIDTH // 4, axis=2)
    np.testing.assert_array_equal(given["frame_features"], image + inputs["pose_latents"])
    np.testing.assert_array_equal(given["time_rows"], np.full((1, 7), 0.5))
    sums = inputs["encoder_hidden_states"].sum(axis=(1, 2))
    np.testing.assert_allclose(velocity, inputs["sample"][:, :, :4] + sums.reshape(2, 1, 1, 1, 1), rtol=1e-5)


def test_what_does_not_change_is_computed_once(unet, recorder, inputs):
    generator = np.random.default_rng(1)
    for step in (0.5, 0.5, 0.25):
        inputs["timestep"][:] = step  # in place: what was kept is not the caller's array
        inputs["sample"][:, :, :4] = generator.standard_normal((2, FRAMES, 4, 2, 2))
        inputs["pose_latents"][:] = generator.standard_normal(inputs["pose_latents"].shape)
        unet.infer(inputs)
    assert len(recorder.given("conditioning")) == 2
    assert [given["timestep"][0] for given in recorder.given("time_embedding")] == [0.5, 0.25]
    assert len(recorder.given("unet")) == 3


@pytest.mark.parametrize("name", ["sample", "encoder_hidden_states"])
def test_another_person_is_conditioned_anew_in_the_branch_that_changed(unet, recorder, inputs, name):
    unet.infer(inputs)
    changed = inputs[name][0, :, 4:] if name == "sample" else inputs[name][0]
    changed += 1
    velocity = unet.infer(inputs)["velocity"]
    assert len(recorder.given("conditioning")) == 3
    tokens = inputs["encoder_hidden_states"].sum(axis=(1, 2)).reshape(2, 1, 1, 1, 1)
    np.testing.assert_allclose(velocity, inputs["sample"][:, :, :4] + tokens, rtol=1e-5)


def test_one_branch_alone(unet, recorder, inputs):
    per_branch = ("sample", "encoder_hidden_states", "pose_latents")
    velocity = unet.infer({name: value[:1] if name in per_branch else value for name, value in inputs.items()})[
        "velocity"
    ]
    assert velocity.shape == (1, FRAMES, 4, 2, 2) and len(recorder.given("conditioning")) == 1


def test_the_conditioning_engine_is_loaded_for_its_part_only(unet, recorder, inputs):
    assert recorder.open == ["unet", "time_embedding"]
    unet.infer(inputs)
    assert recorder.open == ["unet", "time_embedding"]
    unet.close()
    assert recorder.open == []
    recorder.open = list(ENGINES)  # the fixture closes once more


def test_a_failure_to_open_leaves_nothing_open(recorder):
    def opened(role):
        if role == "time_embedding":
            raise MemoryError
        return recorder.opened(role)

    with pytest.raises(MemoryError):
        SpecializedUNet(CONTRACTS, opened)
    assert recorder.open == []


def test_what_does_not_change_is_the_same_array_and_read_only(unet, recorder, inputs):
    """By which a GPU knows that it has it already."""
    for sigma in (0.5, 0.5, 0.25):
        inputs["timestep"][:] = sigma
        unet.infer(inputs)
    first, second, third = recorder.read_only[-4], recorder.read_only[-3], recorder.read_only[-1]
    assert set(first) == set(second) == set(third) == {"constants", "positions", "time_rows"}
    assert all(first[name] is second[name] for name in first)
    assert first["constants"] is third["constants"] and first["time_rows"] is not third["time_rows"]
    inputs["encoder_hidden_states"] += 1
    unet.infer(inputs)
    assert recorder.read_only[-1]["constants"] is not first["constants"]
