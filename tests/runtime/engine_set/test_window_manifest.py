"""A manifest with a window: which engines it asks for, and what cannot be."""

import copy

import pytest
from pydantic import ValidationError
from sample_manifest import engine, manifest

from sa.runtime.contract import ROLES, WINDOW_LOSS, Manifest

SEGMENTS = ("decoder_a", "decoder_b", "decoder_c", "decoder_d")
PARTS = ("window_b", "window_c", "window_d")
NORMED = {"window_c": "norms_c"}
FINDERS = ("decoder_b", "norms_c")  # nothing after the last norm


def facts() -> dict:
    """Four segments, the last three of which have a window of 128 pixels in a frame of 256x256."""

    def segment(role: str) -> dict:
        return dict(forward=role, vjp=f"{role}_vjp", by_frame=True, keep=True)

    costs = dict(flops=1, bytes=1, predicted_bytes=1)
    parts = [segment(role) | dict(norms=NORMED.get(role)) for role in PARTS]
    window = dict(size=128, whole=1, segments=parts, **costs)
    refine = dict(plan="segmented", segments=[segment(role) for role in SEGMENTS], **costs, window=window)
    chain = [role for name in (*SEGMENTS, *PARTS) for role in (name, f"{name}_vjp")]
    engines = [engine(role) for role in (*ROLES, "arcface", "face_loss", WINDOW_LOSS, *NORMED.values(), *chain)]
    return dict(engines=engines, refine=refine)


def changed(**changes) -> Manifest:
    given = copy.deepcopy(facts())
    given["refine"]["window"] |= changes
    return manifest(**given)


def test_each_gradient_has_its_engines():
    made = changed()
    assert set(made.full_roles) == {"face_loss", *SEGMENTS, *(f"{role}_vjp" for role in SEGMENTS)}
    parts = ("decoder_a", *PARTS)
    assert set(made.window_roles) == {WINDOW_LOSS, *parts, *(f"{role}_vjp" for role in parts), *FINDERS}
    assert set(made.refinement_roles) == {"arcface", *made.full_roles, *made.window_roles}
    assert len(made.refinement_roles) == len(set(made.refinement_roles))
    assert set(made.segment_roles) == {*made.full_roles, *made.window_roles} - {"face_loss", WINDOW_LOSS}
    assert Manifest.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(size=256), "a window of 256 pixels is no part of a frame of 256x256"),
        (dict(size=264), "a window of 264 pixels is no part of a frame of 256x256"),
        (dict(size=100), "multiple of 8"),
        (dict(size=56), "greater than or equal to 64"),
        (dict(whole=2), "a window of 3 segments after 2 of the whole frame does not make the plan's 4"),
        (dict(whole=0), "greater than or equal to 1"),
        (dict(segments=[]), "at least 1 item"),
        (dict(surplus=1), "Extra inputs are not permitted"),
    ],
)
def test_what_a_window_cannot_be(changes, message):
    with pytest.raises(ValidationError, match=message):
        changed(**changes)


@pytest.mark.parametrize("role", ["norms_c", WINDOW_LOSS, "window_c", "window_b_vjp"])
def test_an_engine_of_the_window_that_is_not_listed(role):
    given = facts()
    given["engines"] = [one for one in given["engines"] if one.role != role]
    with pytest.raises(ValidationError, match=f"the refinement's engine {role} is not listed"):
        manifest(**given)


def test_a_window_of_one_engine_is_none():
    given = facts()
    given["refine"] |= dict(plan="whole", segments=[])
    given["engines"].append(engine("loss_gradient"))
    with pytest.raises(ValidationError, match="does not make the plan's 0"):
        manifest(**given)
