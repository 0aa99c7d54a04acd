"""Plans for TensorRT for RTX: what the builder is told, what becomes of an engine set, and refusals.

The builder is a stub here; where the library is installed, it builds for real as well.
"""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from sa.export import cli, exporter
from sa.export.exporter import ExportSettings, export
from sa.export.precision import lower, policy
from sa.export.roles import DEFINITIONS
from sa.export.targets import plan_builder, tensorrt_rtx
from sa.export.targets.plan_builder import BuildError, Job, build
from sa.runtime.engine_set import Shapes, read_manifest
from sa.runtime.errors import UserError
from sa.runtime.progress import Reporter

SHAPES = Shapes(height=64, width=64, tile_size=2, decode_chunk=2)


class StubLibrary:
    """tensorrt_rtx as far as the builder uses it; `told` is what it was told."""

    def __init__(self, strongly_typed=True, parses=True, plan=b"plan"):
        told = self.told = {}
        flags = SimpleNamespace(STRONGLY_TYPED=3) if strongly_typed else SimpleNamespace()

        class Logger:
            Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

            def __init__(self):
                pass

        class Config:
            num_compute_capabilities = 0

            def set_compute_capability(self, capability, index):
                assert index < self.num_compute_capabilities
                told.setdefault("capabilities", {})[index] = capability

            def set_memory_pool_limit(self, pool, size):
                told["workspace"] = size

            def add_optimization_profile(self, profile):
                told["profile"] = profile.shapes

        class Profile:
            def __init__(self):
                self.shapes = {}

            def set_shape(self, name, least, best, largest):
                self.shapes[name] = least, best, largest

        class Builder:
            def __init__(self, logger):
                self.logger = logger

            def create_network(self, flags):
                told["flags"] = flags
                return "network"

            create_builder_config = staticmethod(Config)
            create_optimization_profile = staticmethod(Profile)

            def build_serialized_network(self, network, config):
                self.logger.log(Logger.Severity.WARNING, "a remark")
                if plan is None:
                    self.logger.log(Logger.Severity.ERROR, "no kernel fits")
                return plan

        class Parser:
            num_errors = 2

            def __init__(self, network, logger):
                pass

            def parse_from_file(self, path):
                told["program"] = path
                return parses

            def get_error(self, index):
                return SimpleNamespace(desc=lambda: f"error {index}")

        self.module = SimpleNamespace(
            ILogger=Logger,
            Builder=Builder,
            OnnxParser=Parser,
            NetworkDefinitionCreationFlag=flags,
            MemoryPoolType=SimpleNamespace(WORKSPACE=0),
            ComputeCapability=SimpleNamespace(SM86="86", SM120="120"),
        )


@pytest.fixture
def job(tmp_path):
    profile = {"x": ((1, 3), (4, 3))}
    return Job(
        backend="tensorrt-rtx",
        program=tmp_path / "e.onnx",
        plan=tmp_path / "e.plan",
        capabilities=("8.6", "12.0"),
        profile=profile,
    )


def test_the_builder_is_told_types_capabilities_and_shapes(job, monkeypatch):
    library = StubLibrary()
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library.module)
    build(job)
    assert job.plan.read_bytes() == b"plan"
    assert library.told == {
        "flags": 1 << 3,
        "program": str(job.program),
        "profile": {"x": ((1, 3), (4, 3), (4, 3))},
        "capabilities": {0: "86", 1: "120"},
    }


def test_a_library_that_knows_only_strong_types_has_no_flag_for_them(job, monkeypatch):
    library = StubLibrary(strongly_typed=False)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library.module)
    build(job.model_copy(update={"workspace_bytes": 5}))
    assert library.told["flags"] == 0 and library.told["workspace"] == 5


@pytest.mark.parametrize(
    ("library", "said"), [({"parses": False}, "error 0; error 1"), ({"plan": None}, "no kernel fits")]
)
def test_what_the_library_says_of_a_failure_is_kept(job, monkeypatch, library, said):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", StubLibrary(**library).module)
    with pytest.raises(BuildError, match=f"^{said}$"):
        build(job)
    assert not job.plan.exists()


@pytest.fixture
def building(monkeypatch):
    """building(code, said): plans are built by a process that ends so; the jobs it was given."""
    jobs = []

    def restrict(code=0, said=""):
        def run(command, **options):
            job = Job.model_validate_json(command[-1])
            assert command[:3] == [sys.executable, "-m", plan_builder.__name__] and job.program.is_file()
            jobs.append(job)
            if code == 0:
                job.plan.write_bytes(job.program.name.encode())
            return SimpleNamespace(returncode=code, stderr=said)

        monkeypatch.setattr(tensorrt_rtx.subprocess, "run", run)
        monkeypatch.setattr(exporter, "DEFINITIONS", [d for d in DEFINITIONS if d.role in ("pose_net", "vae_decoder")])
        monkeypatch.setattr(exporter, "backend_version", lambda backend: "1.7.1")
        return jobs

    monkeypatch.setattr(exporter, "slots_by_part", slots_of_whole_parts(exporter.slots_by_part))
    return restrict


def slots_of_whole_parts(slots_by_part):
    """A checkpoint's VAE is read whole, whichever of its engines are made."""
    return lambda checkpoint, definitions: slots_by_part(checkpoint, [*definitions, *DEFINITIONS])


def settings(**changes):
    return ExportSettings(SHAPES, None, "tensorrt-rtx", capabilities=("8.6", "8.9"), **changes)


def test_plans_take_the_places_of_certified_programs(checkpoint, building, tmp_path):
    jobs = building()
    out = tmp_path / "out"
    manifest = export(checkpoint("recipe_hjb"), out, settings(), Reporter(quiet=True))
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "pose_net.plan", "vae_decoder.plan"]
    assert (manifest.device, manifest.compute_capabilities) == ("cuda", ("8.6", "8.9"))
    assert "--backend tensorrt-rtx" in manifest.command and "--device sm86,sm89" in manifest.command
    assert [job.capabilities for job in jobs] == [("8.6", "8.9")] * 2
    assert [job.profile for job in jobs] == [{}, {"latents": ((1, 4, 8, 8), (2, 4, 8, 8))}]
    for engine in manifest.engines:
        assert [file.name for file in engine.files] == [engine.program] == [f"{engine.role}.plan"]
        assert engine.certificate.executed == "program" and engine.certificate.relative < 1e-4
    assert read_manifest(out)[0] == manifest


def test_programs_for_plans_have_no_operators_of_onnx_runtime(checkpoint, building, monkeypatch, tmp_path):
    domains = set()
    building()
    monkeypatch.setattr(exporter.tensorrt_rtx, "planned", lambda folder, record, capabilities: seen(folder, record))

    def seen(folder, record):
        model = onnx.load(folder / record.program, load_external_data=False)
        domains.update(node.domain for node in model.graph.node)
        return record.model_copy(update={"program": "x.plan", "files": (record.files[0],)})

    with pytest.raises(ValueError, match=r"x.plan is not among"):
        export(checkpoint("recipe_hjb"), tmp_path / "out", settings(), Reporter(quiet=True))
    assert domains == {""}


def test_a_builder_that_crashes_fails_the_export_with_its_words(checkpoint, building, tmp_path):
    building(code=-11, said="one\nno kernel fits\n")
    with pytest.raises(UserError, match=r"no plan of the pose_net engine: no kernel fits \(exit code -11\)"):
        export(checkpoint("recipe_hjb"), tmp_path / "out", settings(), Reporter(quiet=True))
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("flags", "installed", "message"),
    [
        (
            ("--backend", "tensorrt-rtx"),
            None,
            "--backend tensorrt-rtx needs TensorRT for RTX, which is not installed: "
            "`pip install 'stableanimator-deploy[tensorrt-rtx]'`.",
        ),
        (
            ("--backend", "tensorrt-rtx", "--device", "sm89,sm90"),
            "1.7.1",
            "--device sm90 is unknown to TensorRT for RTX: choose from sm75, sm80, sm86, sm89, sm120.",
        ),
    ],
)
def test_refusals_of_sa_export(flags, installed, message, monkeypatch, capsys):
    monkeypatch.setattr(cli, "backend_version", lambda backend: installed)
    assert cli.main(["--checkpoint", "c", "--out", "o", *flags]) == 2
    assert capsys.readouterr().err == f"sa-export: {message}\n"


def test_a_typed_graph_is_built_where_the_library_is_installed(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 3, 8] x) => (float[2, 3, 8] y) {
            scores = Softmax <axis = -1> (x)
            y = MatMul (scores, w)
        }
        """
    )
    lower(model, policy("fp16"), ["w"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(8, dtype=np.float16), "w"))
    onnx.save_model(model, tmp_path / "e.onnx")
    job = dict(backend="tensorrt-rtx", program=str(tmp_path / "e.onnx"), plan=str(tmp_path / "e.plan"))
    words = json.dumps({**job, "capabilities": ["8.9"], "profile": {}})
    subprocess.run([sys.executable, "-m", plan_builder.__name__, words], check=True)
    assert (tmp_path / "e.plan").stat().st_size > 1000
