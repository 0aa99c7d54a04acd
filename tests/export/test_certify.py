"""Certificates: they find damage, and a twin's stands for its engine."""

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from sa.export import certificates, certify, exporter
from sa.export.checkpoint.checkpoint import Checkpoint
from sa.export.engines.fixed_inputs import fixed_inputs
from sa.export.engines.plain_calls import PlainCalls
from sa.export.engines.refinement_roles import refine_definitions
from sa.export.engines.roles import DEFINITIONS, slots
from sa.export.exporter import export
from sa.export.settings import ExportSettings
from sa.export.targets import target as targets
from sa.export.targets.onnxruntime.target import OnnxRuntimeTarget
from sa.export.targets.openvino.target import OpenVinoTarget
from sa.export.targets.paddle.target import PaddleTarget
from sa.runtime.backends import open_engine
from sa.runtime.backends.composed.specialized_unet import SpecializedUNet
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import DEEP, Shapes
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import EngineSetError, UserError

pytestmark = pytest.mark.export


@pytest.fixture
def only(monkeypatch):
    """only(roles): exports make these engines alone, and certify those as they are that cost no more than asked."""

    def restrict(*roles, **changes):
        definitions = [dataclasses.replace(d, **changes) for d in DEFINITIONS if d.role in roles]
        monkeypatch.setattr(exporter, "DEFINITIONS", definitions)

    return restrict


@pytest.fixture
def pose_net_reference(checkpoint):
    source = Checkpoint(checkpoint("recipe_hjb"))
    definition = next(d for d in DEFINITIONS if d.role == "pose_net")
    network = definition.network(source)
    certify.load_weights(network, source.weights("pose_net", slots(network)))
    shapes = Shapes(height=64, width=64, tile_size=5, decode_chunk=4)
    return certify.reference_outputs(network.forward, None, definition.inputs(source, shapes))


def test_engines_of_one_network_share_it(checkpoint):
    opened = Checkpoint(checkpoint("recipe_hjb"))
    *_, first, second = refine_definitions("segmented", opened).engines  # a segment of the decoder and its VJP
    networks = certify.Networks(opened, {})
    assert networks.empty(first) is networks.empty(second)
    assert networks.empty(DEFINITIONS[0]) is not networks.empty(first)


def test_a_sound_engine_is_within_and_a_damaged_one_beyond(engines, pose_net_reference, backend, tmp_path):
    folder = shutil.copytree(engines("recipe_hjb", backend), tmp_path / "engines")
    manifest = EngineSet.open(folder).manifest
    contract = manifest.engine("pose_net")
    with open_engine(backend, folder, contract) as engine:
        sound = certificates.certificate(engine, pose_net_reference, reduced=False, precision="fp32")
    assert sound.relative < 1e-5 and sound.cosine > 0.999999 and sound.shapes == "full"

    weights = next(file.name for file in contract.files if file.name != contract.program)
    content = bytearray((folder / weights).read_bytes())
    middle = len(content) // 2 // 4 * 4
    content[middle : middle + 4] = np.float32(1.0).tobytes()  # one weight of 0.2 million
    (folder / weights).write_bytes(content)
    with open_engine(backend, folder, contract) as engine:
        damaged = certificates.certificate(engine, pose_net_reference, reduced=False, precision="fp32")
    assert damaged.relative > damaged.tolerance
    assert "pose_net" in str(certificates.beyond_tolerance(damaged, "pose_net"))


def test_dear_engines_are_certified_on_a_twin_that_leaves_no_files(checkpoint, only, backend, tmp_path):
    """The UNet together with the engines it needs, against the plain network."""
    only("conditioning", "time_embedding", "unet", "pose_net", affordable=3e8)
    target = {"onnxruntime": OnnxRuntimeTarget, "openvino": OpenVinoTarget, "paddle": PaddleTarget}[backend]()
    settings = ExportSettings(Shapes(height=128, width=128, tile_size=5, decode_chunk=4), target)
    manifest = export(checkpoint("recipe_hjb"), tmp_path / "out", settings, Reporter(quiet=True))
    unet = manifest.engine("unet")
    assert unet.certificate.shapes == "reduced" and unet.certificate.relative < 1e-4
    assert unet.certificate.input_shapes["sample"] == (2, 2, 8, 8, 16)
    assert unet.inputs[0].shape == (1, 5, 4, 16, 16) and unet.outputs[0].shape == ((1, 2), 5, 4, 16, 16)
    assert manifest.engine("pose_net").certificate.shapes == "full"
    listed = {file.name for engine in manifest.engines for file in engine.files}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*listed, "manifest.json"}
    contracts = {engine.role: engine for engine in manifest.engines}
    unet = SpecializedUNet(lambda role: open_engine(backend, tmp_path / "out", contracts[role]))
    with PlainCalls(unet, contracts) as engine:
        inputs = fixed_inputs(engine.contract.inputs)
        assert np.isfinite(engine.infer(inputs)["velocity"]).all()


def test_onednn_is_kept_only_where_it_is_certified(checkpoint, only, monkeypatch, tmp_path):
    only("pose_net", "face_encoder", "image_encoder")
    opened = []

    class Sloppy:
        """An engine whose face encoder is wrong with oneDNN, and whose image encoder cannot be loaded with it."""

        def __init__(self, backend, folder, contract, threads):
            opened.append((contract.role, contract.onednn))
            if contract.onednn and contract.role == "image_encoder":
                raise EngineSetError("not with oneDNN")
            self.engine = open_engine(backend, folder, contract, threads)
            self.wrong = contract.onednn and contract.role == "face_encoder"
            self.contract = contract

        def infer(self, inputs):
            return {name: value + 1e-2 * self.wrong for name, value in self.engine.infer(inputs).items()}

        def __enter__(self):
            return self

        def __exit__(self, *details):
            self.engine.close()

    monkeypatch.setattr(targets, "open_engine", Sloppy)
    shapes = Shapes(height=64, width=64, tile_size=2, decode_chunk=1)
    settings = ExportSettings(shapes, PaddleTarget())
    manifest = export(checkpoint("recipe_hjb"), tmp_path / "out", settings, Reporter(quiet=True))
    assert manifest.engine("pose_net").onednn and not manifest.engine("face_encoder").onednn
    assert not manifest.engine("image_encoder").onednn
    assert opened == [
        ("image_encoder", True),
        ("image_encoder", False),
        ("face_encoder", True),
        ("face_encoder", False),
        ("pose_net", True),
        ("pose_net", False),  # the same engine on further kinds of inputs
        ("pose_net", True),
    ]
    further = manifest.engine("pose_net").certificate.further
    assert len(further) == 5 and max(further.values()) < 1e-5
    assert manifest.engine("face_encoder").certificate.further == {}
    assert "onednn" not in manifest.command


def test_an_engine_beyond_its_tolerance_fails_the_export(checkpoint, only, monkeypatch, tmp_path):
    only("pose_net")
    monkeypatch.setitem(certificates.TOLERANCE, "fp32", 0.0)
    settings = ExportSettings(Shapes(height=64, width=64, tile_size=2, decode_chunk=1), OnnxRuntimeTarget())
    with pytest.raises(UserError, match=r"pose_net engine differs .* more than the tolerance 0e\+00") as failure:
        export(checkpoint("recipe_hjb"), tmp_path / "out", settings, Reporter(quiet=True))
    assert failure.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_gradients_across_kinks_are_judged_by_their_length():
    """One value that jumped does not matter, one in a hundred that all did does."""
    reference = np.random.default_rng(0).standard_normal(10_000)
    contract = SimpleNamespace(inputs=(), outputs=())

    def judged(result, kinked):
        engine = SimpleNamespace(contract=contract, infer=lambda values: {"loss": np.ones(1), "gradient": result})
        return certificates.certificate(engine, (np.ones(1), reference), False, "fp32", kinked)

    jumped = reference.copy()
    jumped[7] += 0.5
    assert judged(jumped, kinked=False).relative > certificates.TOLERANCE["fp32"]
    assert judged(jumped, kinked=True).relative < certificates.KINKED_TOLERANCE["fp32"]
    assert judged(jumped, kinked=True).norm == "euclidean"
    turned = reference.copy()
    turned[::100] *= -1
    assert judged(turned, kinked=True).relative > certificates.KINKED_TOLERANCE["fp32"]


def test_a_feature_within_the_network_is_judged_by_its_length_and_the_output_beside_it_by_its_largest_value():
    reference = np.random.default_rng(0).standard_normal(10_000)
    contract = SimpleNamespace(inputs=(), outputs=())

    def judged(velocity, deep):
        engine = SimpleNamespace(contract=contract, infer=lambda values: {"velocity": velocity, DEEP: deep})
        return certificates.certificate(engine, (reference, reference), False, "fp32")

    moved = reference.copy()
    moved[7] += 2e-3  # 5e-4 of the largest value, 2e-5 of the length
    assert judged(moved, reference).relative > certificates.TOLERANCE["fp32"]
    assert judged(reference, moved).relative < certificates.TOLERANCE["fp32"]
    assert judged(reference, moved).norm == "euclidean"
    wrong = judged(reference, reference * 1.001)
    assert wrong.relative > wrong.tolerance == certificates.TOLERANCE["fp32"]
