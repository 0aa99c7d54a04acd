"""The project's own pack: small, sound, and what sa-export makes today."""

import pytest

from sa.benchmarks.gpu import sets
from sa.benchmarks.gpu.unpack import read
from sa.runtime.engine_set.verify import read_manifest

STALE = "benchmarks/gpu/sets.tar.xz is out of date: make it again with `make gpu-pack`"
LARGEST = 1 << 20  # bytes; the whole project is to stay small


@pytest.fixture(scope="module")
def packed():
    """The sets of the pack by name. Reading it checks format version, names, layouts and sizes."""
    return {one.layout.name: one for one in read(sets.PACK)}


def test_it_is_small_and_has_every_set(packed):
    assert sets.PACK.stat().st_size < LARGEST
    assert packed.keys() == {*sets.SMALL, *sets.FUSED, *sets.TRUE_SIZE}, STALE


def test_the_sets_of_true_size_are_those_that_their_flags_make(packed):
    for name, flags in sets.TRUE_SIZE.items():
        assert set(flags.split()) <= set(packed[name].manifest.command.split()), STALE


@pytest.mark.parametrize(
    "name",
    [
        *("recipe_hjb-fp32", "recipe_hjb-fp32-cuda"),
        *(pytest.param(name, marks=pytest.mark.fp16) for name in (*sets.SMALL, *sets.FUSED) if "fp16" in name),
    ],
)
def test_the_golden_sets_are_what_is_exported_today(packed, engines, name):
    case, precision, *form = name.split("-")
    flags = [*(("--precision", precision) if precision != "fp32" else ()), *(("--device", "cuda") if form else ())]
    made, _ = read_manifest(engines(case, "onnxruntime", *flags, "--refine"))
    there = packed[name].manifest
    assert there.shapes == made.shapes and there.refine == made.refine, STALE
    for old, new in zip(there.engines, made.engines, strict=True):
        measured = {"certificate"}  # differs in its last digits from one processor to another
        assert old.model_dump(exclude=measured) == new.model_dump(exclude=measured), f"{new.role}: {STALE}"
