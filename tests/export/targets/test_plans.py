"""Plans for TensorRT and TensorRT for RTX: what the builder is told, what becomes of an engine set, and refusals.

The builders are stubs here; where TensorRT for RTX is installed, it builds for real as well.
"""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from sa.export import cli, exporter
from sa.export.engines.roles import DEFINITIONS
from sa.export.exporter import export
from sa.export.onnx.rewrites.lower_precision import lower_precision, policy
from sa.export.settings import ExportSettings
from sa.export.targets import target as targets
from sa.export.targets.tensorrt import builder as plan_builder
from sa.export.targets.tensorrt import plans as tensorrt
from sa.export.targets.tensorrt import settings as plan_settings
from sa.export.targets.tensorrt import target as plan_targets
from sa.export.targets.tensorrt.builder import BuildError, Job, build
from sa.export.targets.tensorrt.settings import PlanSettings
from sa.export.targets.tensorrt.target import TensorRtRtxTarget, TensorRtTarget
from sa.runtime.backends import open_engine
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import Shapes
from sa.runtime.engine_set.verify import read_manifest
from sa.runtime.errors import UserError

pytestmark = pytest.mark.export

SHAPES = Shapes(height=64, width=64, tile_size=2, decode_chunk=2)


class StubLibrary:
    """tensorrt_rtx, or tensorrt, as far as the builder uses it; `told` is what it was told."""

    def __init__(self, strongly_typed=True, parses=True, plan=b"plan", rtx=True, knows_times=True):
        told = self.told = {}
        flags = SimpleNamespace(STRONGLY_TYPED=3) if strongly_typed else SimpleNamespace()

        class Logger:
            Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

            def __init__(self):
                pass

        class Config:
            def set_compute_capability(self, capability, index):
                assert index < told["num_compute_capabilities"]
                told.setdefault("capabilities", {})[index] = capability

            def set_memory_pool_limit(self, pool, size):
                told["workspace"] = size

            def add_optimization_profile(self, profile):
                told["profile"] = profile.shapes

            def clear_flag(self, flag):
                told["cleared"] = flag

            def set_flag(self, flag):
                told.setdefault("flagged", []).append(flag)

            def create_timing_cache(self, content):
                return content

            def set_timing_cache(self, cache, ignore_mismatch):
                assert not ignore_mismatch
                told["times"] = cache
                return knows_times or not cache

            def get_timing_cache(self):
                return SimpleNamespace(serialize=lambda: told["times"] + b" and more")

            def __setattr__(self, name, value):
                told[name] = value

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

            def parse(self, model, path):
                told["model"], told["program"] = onnx.load_from_string(model), path
                return parses

            def get_error(self, index):
                return SimpleNamespace(desc=lambda: f"error {index}")

        self.module = SimpleNamespace(
            ILogger=Logger,
            Builder=Builder,
            OnnxParser=Parser,
            NetworkDefinitionCreationFlag=flags,
            MemoryPoolType=SimpleNamespace(WORKSPACE=0),
            BuilderFlag=SimpleNamespace(TF32="tf32", STRIP_PLAN="strip", REFIT_IDENTICAL="refit"),
            HardwareCompatibilityLevel=SimpleNamespace(NONE=0, AMPERE_PLUS="ampere", SAME_COMPUTE_CAPABILITY="same"),
        )
        if rtx:
            self.module.ComputeCapability = SimpleNamespace(SM86="86", SM120="120")


FUNCTIONS = """
    <ir_version: 10, opset_import: ["" : 17, "sa" : 1]>
    g (float[2] x) => (float[2] y) {
        once = sa.F (x)
        y = sa.F (once)
    }
    <opset_import: ["" : 17], domain: "sa">
    F (a) => (b) { b = Exp (a) }
    <opset_import: ["" : 17], domain: "sa">
    F (a) => (b) { b = Neg (a) }
"""


def overloaded():
    """Two functions of one name, told apart by their overloads alone."""
    model = onnx.parser.parse_model(FUNCTIONS)
    for i, (node, function) in enumerate(zip(model.graph.node, model.functions, strict=True)):
        node.overload = function.overload = str(i)
    return model


@pytest.fixture
def job(tmp_path):
    profile = {"x": ((1, 3), (4, 3))}
    onnx.save_model(overloaded(), tmp_path / "e.onnx")
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
    assert [node.op_type for node in library.told.pop("model").graph.node] == ["Exp", "Neg"]
    assert library.told == {
        "flags": 1 << 3,
        "program": str(job.program),
        "cleared": "tf32",
        "num_compute_capabilities": 2,
        "profile": {"x": ((1, 3), (4, 3), (4, 3))},
        "capabilities": {0: "86", 1: "120"},
    }


def test_a_library_that_knows_only_strong_types_has_no_flag_for_them(job, monkeypatch):
    library = StubLibrary(strongly_typed=False)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library.module)
    build(job.model_copy(update={"workspace_bytes": 5}))
    assert library.told["flags"] == 0 and library.told["workspace"] == 5


@pytest.mark.parametrize(("compatible", "level"), [(False, "same"), (True, "ampere")])
def test_tensorrt_is_told_which_gpus_beside_the_one_at_hand(job, monkeypatch, compatible, level):
    library = StubLibrary(rtx=False)
    monkeypatch.setitem(sys.modules, "tensorrt", library.module)
    build(job.model_copy(update={"backend": "tensorrt", "compatible": compatible, "level": 5}))
    assert library.told["hardware_compatibility_level"] == level
    assert library.told["builder_optimization_level"] == 5 and "num_compute_capabilities" not in library.told


def test_a_stripped_plan_leaves_the_program_that_its_weights_are_named_by(job, monkeypatch):
    library = StubLibrary(rtx=False)
    monkeypatch.setitem(sys.modules, "tensorrt", library.module)
    build(job.model_copy(update={"backend": "tensorrt", "stripped": True}))
    assert library.told["flagged"] == ["strip", "refit"]
    assert onnx.load(job.program) == library.told["model"]


def test_times_are_kept_for_the_next_build_and_those_of_another_gpu_are_not_used(job, monkeypatch, tmp_path):
    timed = job.model_copy(update={"backend": "tensorrt", "timing_cache": tmp_path / "cache" / "times"})
    library = StubLibrary(rtx=False)
    monkeypatch.setitem(sys.modules, "tensorrt", library.module)
    build(timed)
    build(timed)
    assert timed.timing_cache.read_bytes() == b" and more and more"
    other = StubLibrary(rtx=False, knows_times=False)
    monkeypatch.setitem(sys.modules, "tensorrt", other.module)
    build(timed)
    assert other.told["times"] == b"" and [path.name for path in timed.timing_cache.parent.iterdir()] == ["times"]


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

        monkeypatch.setattr(tensorrt.subprocess, "run", run)
        monkeypatch.setattr(exporter, "DEFINITIONS", [d for d in DEFINITIONS if d.role in ("pose_net", "vae_decoder")])
        monkeypatch.setattr(exporter, "backend_version", lambda backend: "1.7.1")
        return jobs

    monkeypatch.setattr(exporter, "slots_by_part", slots_of_whole_parts(exporter.slots_by_part))
    return restrict


def slots_of_whole_parts(slots_by_part):
    """A checkpoint's VAE is read whole, whichever of its engines are made."""
    return lambda checkpoint, definitions: slots_by_part(checkpoint, [*definitions, *DEFINITIONS])


def settings(**changes):
    return ExportSettings(SHAPES, TensorRtRtxTarget(PlanSettings(("8.6", "8.9"), **changes)))


def test_a_range_of_one_number_needs_a_profile_too(checkpoint, building, tmp_path):
    jobs = building()
    shapes = SHAPES.model_copy(update={"decode_chunk": 1})
    export(checkpoint("recipe_hjb"), tmp_path / "out", replace(settings(), shapes=shapes), Reporter(quiet=True))
    assert [job.profile for job in jobs] == [{}, {"latents": ((1, 4, 8, 8), (1, 4, 8, 8))}]


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

    def seen(folder, record, backend, plans):
        model = onnx.load(folder / record.program, load_external_data=False)
        domains.update(node.domain for node in model.graph.node)
        return record.model_copy(update={"program": "x.plan", "files": (record.files[0],)})

    monkeypatch.setattr(plan_targets, "planned", seen)
    with pytest.raises(ValueError, match=r"x.plan is not among"):
        export(checkpoint("recipe_hjb"), tmp_path / "out", settings(), Reporter(quiet=True))
    assert domains == {""}


def test_plans_for_the_gpu_at_hand_are_certified_themselves(checkpoint, building, monkeypatch, tmp_path):
    """TensorRT's: a stub of it runs the program that a plan was built from."""
    jobs = building()
    opened = []

    def open_plan(backend, folder, contract, threads):
        assert backend == "tensorrt" and contract.program.endswith(".plan")
        opened.append(contract.program)
        program = (folder / contract.program).read_bytes().decode()
        record = contract.model_copy(update={"program": program})
        return open_engine("onnxruntime", folder, record, threads)

    monkeypatch.setattr(targets, "open_engine", open_plan)
    plans = PlanSettings(("9.0",), compatible=True, kernels=True, workspace_bytes=3 << 30, level=4)
    out = tmp_path / "out"
    manifest = export(
        checkpoint("recipe_hjb"), out, ExportSettings(SHAPES, TensorRtTarget(plans)), Reporter(quiet=True)
    )
    assert opened == ["pose_net.plan", "vae_decoder.plan"]
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", *opened]
    assert {engine.certificate.executed for engine in manifest.engines} == {"engine"}
    assert manifest.hardware_compatible and manifest.kernels and manifest.compute_capabilities == ("9.0",)
    assert manifest.command.endswith(" --workspace 3 --builder-level 4 --hardware-compatible --kernels on")
    job = jobs[0]
    assert (job.compatible, job.kernels, job.workspace_bytes, job.level) == (True, True, 3 << 30, 4)
    assert job.timing_cache.name == "tensorrt-None-sm90.timing"


def test_stripped_plans_keep_programs_and_the_weights_they_share(checkpoint, building, monkeypatch, tmp_path):
    building()

    def open_program(backend, folder, contract, threads):
        program = contract.model_copy(update={"program": contract.refit})
        return open_engine("onnxruntime", folder, program, threads)

    monkeypatch.setattr(targets, "open_engine", open_program)
    plans = PlanSettings(("9.0",), stripped=True)
    out = tmp_path / "out"
    manifest = export(
        checkpoint("recipe_hjb"), out, ExportSettings(SHAPES, TensorRtTarget(plans)), Reporter(quiet=True)
    )
    for engine in manifest.engines:
        names = [file.name for file in engine.files]
        assert names[:2] == [engine.program, engine.refit] == [f"{engine.role}.plan", f"{engine.role}.onnx"]
        assert len(names) > 2 and all(name.endswith(".weights") for name in names[2:])
    listed = {file.name for engine in manifest.engines for file in engine.files}
    assert {path.name for path in out.iterdir()} == listed | {"manifest.json"}
    assert " --strip-plans" in manifest.command


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
            "--device sm90 is none of TensorRT for RTX, which knows no A100, H100 or H200 either: choose from sm75, "
            "sm86, sm89, sm120, sm121, or export with --backend tensorrt on the GPU itself.",
        ),
        (
            ("--backend", "tensorrt"),
            None,
            "--backend tensorrt needs TensorRT, which is not installed: "
            "`pip install 'stableanimator-deploy[tensorrt]'`.",
        ),
        (
            ("--backend", "tensorrt"),
            "10.8.0.43",
            "--backend tensorrt needs TensorRT 10.9 to 11, but 10.8.0.43 is installed: "
            "`pip install 'stableanimator-deploy[tensorrt]'`.",
        ),
        (
            ("--backend", "tensorrt", "--device", "sm89"),
            "10.9.0.34",
            "--device is a choice of TensorRT for RTX, and TensorRT builds for the GPU in this machine: leave it out, "
            "or give --backend tensorrt-rtx.",
        ),
        (
            ("--backend", "tensorrt", "--builder-level", "6"),
            "11.4.0.106",
            "--builder-level must be 0 to 5, not 6.",
        ),
        (
            ("--backend", "tensorrt-rtx", "--workspace", "0"),
            "1.7.1",
            "--workspace must be more than 0 and at most 1024 GiB, not 0.",
        ),
        (
            ("--backend", "tensorrt-rtx", "--kernels", "on"),
            "1.7.1",
            "--kernels on is a choice of TensorRT: give it with --backend tensorrt.",
        ),
        (
            ("--workspace", "4"),
            None,
            "--workspace is a choice of TensorRT: give it with --backend tensorrt or tensorrt-rtx.",
        ),
    ],
)
def test_refusals_of_sa_export(flags, installed, message, monkeypatch, capsys):
    monkeypatch.setattr(plan_settings, "backend_version", lambda backend: installed)
    assert cli.main(["--checkpoint", "c", "--out", "o", *flags]) == 2
    assert capsys.readouterr().err == f"sa-export: {message}\n"


@pytest.mark.parametrize(
    ("flags", "capability", "message"),
    [
        (
            (),
            None,
            "--backend tensorrt builds plans on the GPU they are for, but found none here, or no driver: run sa-export "
            "on that machine, or give --backend tensorrt-rtx, which builds for GeForce and RTX cards anywhere.",
        ),
        (
            ("--kernels", "on"),
            "7.5",
            "--kernels on needs a GPU of compute capability 8.0 or later, this one has 7.5: leave it out.",
        ),
        (
            ("--hardware-compatible",),
            "7.5",
            "--hardware-compatible needs a GPU of compute capability 8.0 or later, this one has 7.5: leave it out.",
        ),
        (
            ("--kernels", "on"),
            "12.0",
            "--kernels on compiles kernels with Triton, which is not installed: "
            "`pip install 'stableanimator-deploy[kernels]'`, or leave it out.",
        ),
    ],
    ids=["no GPU", "kernels", "compatible", "Triton"],
)
def test_gpus_are_looked_at_before_any_work(flags, capability, message, monkeypatch, capsys):
    monkeypatch.setattr(plan_settings, "backend_version", lambda backend: "11.4.0.106")
    monkeypatch.setattr(plan_settings, "compute_capability", lambda: capability)
    monkeypatch.setattr(plan_settings, "find_spec", lambda name: None)
    assert cli.main(["--checkpoint", "c", "--out", "o", "--backend", "tensorrt", *flags]) == 2
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
    lower_precision(model, policy("fp16"), ["w"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(8, dtype=np.float16), "w"))
    onnx.save_model(model, tmp_path / "e.onnx")
    job = dict(backend="tensorrt-rtx", program=str(tmp_path / "e.onnx"), plan=str(tmp_path / "e.plan"))
    words = json.dumps({**job, "capabilities": ["8.9"], "profile": {}})
    subprocess.run([sys.executable, "-m", plan_builder.__name__, words], check=True)
    assert (tmp_path / "e.plan").stat().st_size > 1000
