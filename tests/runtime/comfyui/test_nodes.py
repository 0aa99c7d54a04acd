"""The nodes on stand-ins of ComfyUI's API: what they offer, take and give."""

import asyncio
import gc
import inspect
import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prepare_data import person, picture_file, write_keypoints
from standin import ComfyUI, InterruptProcessingException, Tensor, loaded

from sa.runtime.case.case import Case
from sa.runtime.cli import main as sa_run
from sa.runtime.comfyui.animating import RefineOptions, settings_of
from sa.runtime.comfyui.install import PACK, install
from sa.runtime.comfyui.preparing import PREFIX
from sa.runtime.comfyui.words import worded
from sa.runtime.errors import EngineSetError, InputError
from sa.runtime.pipeline.quality import qualities, quality_settings
from sa.runtime.prepare.cli import main as sa_prepare
from sa.runtime.prepare.options import PrepareOptions
from sa.runtime.refinement.hjb import RefineSettings
from sa.runtime.refinement.presets import DEFAULT, refine_presets, refine_settings

IDS = ("LoadEngines", "CaseFromImages", "PrepareCase", "PrepareOptions", "LoadCase", "Animate", "RefineOptions")
LINKS = ("IMAGE", "MASK", "SA_ENGINES", "SA_CASE", "SA_PREPARE", "SA_REFINE")
METADATA = tomllib.loads((PACK / "pyproject.toml").read_text())
PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((PACK / "example_workflows").glob("*.json"))
STEPS, FRAMES = 2, 5
HEAVY = ("onnxruntime", "openvino", "paddle", "tensorrt", "tensorrt_rtx", "cuda", "cv2", "insightface", "ray", "onnx")


@pytest.fixture
def comfyui() -> ComfyUI:
    return ComfyUI()


@pytest.fixture
def home(tmp_path) -> Path:
    """A ComfyUI folder with the pack."""
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "input").mkdir()
    install(tmp_path)
    return tmp_path


@pytest.fixture
def nodes(home, comfyui):
    """nodes[name]: the node SA_name."""
    with loaded(home / "custom_nodes" / "stableanimator", comfyui) as pack:
        extension = asyncio.run(pack.comfy_entrypoint())
        found = asyncio.run(extension.get_node_list())
        yield {node.define_schema().node_id.removeprefix("SA_"): node for node in found}


def image(pictures: np.ndarray) -> Tensor:
    """uint8 pictures as an IMAGE or MASK."""
    return Tensor(pictures.astype(np.float32) / 255)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# What they offer


def test_there_are_seven_nodes(nodes):
    assert set(nodes) == set(IDS)


@pytest.mark.parametrize("name", IDS)
def test_every_input_is_explained_and_has_a_range(name, nodes):
    schema = nodes[name].define_schema()
    assert schema.category == "StableAnimator" and schema.description.endswith(".")
    assert len({one.id for one in schema.inputs}) == len(schema.inputs)
    for one in schema.inputs:
        assert one.tooltip and len(one.tooltip) > 10, one.id
        if one.kind in ("INT", "FLOAT"):
            assert one.min <= one.default <= one.max, one.id
        elif one.kind == "COMBO" and one.id != "engines":
            assert one.default in one.options, one.id
        else:
            assert one.kind in (*LINKS, "STRING", "COMBO", "BOOLEAN")


@pytest.mark.parametrize("name", IDS)
def test_execute_takes_the_inputs(name, nodes):
    schema = nodes[name].define_schema()
    taken = inspect.signature(nodes[name].execute).parameters
    assert set(taken) == {one.id for one in schema.inputs}
    for one in schema.inputs:
        assert (taken[one.id].default is inspect.Parameter.empty) == (not one.optional), one.id


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_example_workflows_fit_the_nodes(path, nodes):
    workflow = json.loads(path.read_text())
    ours = [node for node in workflow["nodes"] if node["type"].startswith("SA_")]
    assert len(ours) >= 3
    for node in ours:
        schema = nodes[node["type"].removeprefix("SA_")].define_schema()
        assert [one["type"] for one in node["outputs"]] == [one.kind for one in schema.outputs]
        known = {one.id: one.kind for one in schema.inputs}
        for taken in node["inputs"]:
            assert known[taken["name"]] == taken["type"]
        widgets = []
        for one in schema.inputs:
            if one.kind not in LINKS:
                widgets.append(type(one.default) if one.id != "engines" else str)
                widgets += [str] if getattr(one, "control_after_generate", False) else []
        assert len(node["widgets_values"]) == len(widgets)
        for value, of in zip(node["widgets_values"], widgets, strict=True):
            assert isinstance(value, (int, float) if of is float else of), (node["type"], value)


def test_metadata_for_the_registry():
    project, comfy = METADATA["project"], METADATA["tool"]["comfy"]
    assert project["version"] == PROJECT["version"] and project["requires-python"] == ">=3.11"
    assert project["dependencies"] == [f"{PROJECT['name']}[cpu,prepare]=={PROJECT['version']}"]
    assert (PACK / comfy["Icon"]).read_text().startswith("<svg")
    assert comfy["DisplayName"] and comfy["PublisherId"]


def test_importing_loads_no_engine_library_and_asks_no_network(home):
    code = f"""
import asyncio, socket, sys
def refuse(*arguments, **further):
    raise AssertionError("it asks the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from standin import ComfyUI, loaded
with loaded(Path({str(home / "custom_nodes" / "stableanimator")!r}), ComfyUI()) as pack:
    for node in asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list()):
        node.define_schema()
    print(sorted({{name.partition(".")[0] for name in sys.modules}} & set({HEAVY!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_the_package_it_says_what_to_install(home, comfyui, monkeypatch):
    monkeypatch.setitem(sys.modules, "sa.runtime.comfyui", None)
    with (
        pytest.raises(ImportError, match="need stableanimator-deploy in ComfyUI's Python: install it there"),
        loaded(home / "custom_nodes" / "stableanimator", comfyui),
    ):
        pass


# Engines


def test_engine_sets_are_listed_by_their_folders(nodes, home):
    for name, file in (("second", "manifest.json"), ("first", "manifest.json"), ("no set", "other.json")):
        folder = home / "models" / "stableanimator" / name
        folder.mkdir()
        (folder / file).write_text("{}")
    (engines, *_) = nodes["LoadEngines"].define_schema().inputs
    assert engines.options == ["first", "second"]
    assert nodes["LoadEngines"].validate_inputs(engines="first") is True
    assert nodes["LoadEngines"].validate_inputs(engines=None) is True  # another node says it, later
    for name in ("third", "../stableanimator/first"):
        sentence = nodes["LoadEngines"].validate_inputs(engines=name)
        assert sentence.startswith(f"there is no engine set {name!r} in {home}")
        with pytest.raises(EngineSetError, match="there is no engine set"):
            nodes["LoadEngines"].execute(name, "cpu", "never")


def test_an_engine_set_made_anew_is_another(nodes, home):
    folder = home / "models" / "stableanimator" / "set"
    folder.mkdir()

    def fingerprint(text: str) -> str:
        (folder / "manifest.json").write_text(text)
        return nodes["LoadEngines"].fingerprint_inputs(engines="set", device="cpu", keep_loaded="never")

    assert fingerprint("{}") == fingerprint("{}") != fingerprint("{ }")
    assert nodes["LoadEngines"].fingerprint_inputs(engines=None) is None  # another node says it, later


@pytest.mark.parametrize(("device", "keep"), [("tpu", "never"), ("cpu", "sometimes")])
def test_unknown_choices_of_engines(device, keep, nodes, home):
    folder = home / "models" / "stableanimator" / "set"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(EngineSetError, match=r"cannot be '(tpu|sometimes)': choose"):
        nodes["LoadEngines"].execute("set", device, keep)


# Cases


def case_from_images(nodes, **changes) -> Case:
    given = {
        "reference": image(noise(1, 32, 24, 3)),
        "poses": image(noise(3, 16, 16, 3)),
        "fps": 12.5,
        "faces": image(noise(3, 16, 16)),
        "reference_face": image(noise(1, 32, 24)),
        "identity": "none",
    }
    (made,) = nodes["CaseFromImages"].execute(**given | changes).args
    return made.case


def test_a_case_has_the_pictures_to_the_level(nodes):
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    case = case_from_images(nodes, reference=image(levels), reference_face=image(levels[..., 0]))
    np.testing.assert_array_equal(np.asarray(case.reference), levels[0])
    np.testing.assert_array_equal(case.reference_mask, levels[0, ..., 0])
    np.testing.assert_array_equal(np.stack(list(case.poses)), noise(3, 16, 16, 3))
    np.testing.assert_array_equal(np.stack(list(case.part(1, 3).poses)), noise(3, 16, 16, 3)[1:])
    np.testing.assert_array_equal(np.stack(list(case.face_masks())), noise(3, 16, 16))
    assert case.fps == 12.5 and case.frames == 3


def test_what_lies_beyond_0_and_1_is_clipped(nodes):
    wide = np.full((1, 16, 16, 3), 1.5, np.float32)
    wide[..., 0] = -0.5
    case = case_from_images(nodes, poses=Tensor(wide), faces=None, reference_face=None)
    assert case.poses[0].tolist() == np.broadcast_to([0, 255, 255], (16, 16, 3)).tolist()


def test_poses_are_not_copied(nodes):
    poses = np.zeros((4, 16, 16, 3), np.float32)
    case = case_from_images(nodes, poses=Tensor(poses), faces=None, reference_face=None)
    poses[2] = 1
    assert [int(pose.max()) for pose in case.poses] == [0, 0, 255, 0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reference": image(noise(2, 32, 24, 3))}, "reference has 2 pictures: connect one"),
        (
            {"reference": image(noise(1, 32, 24, 4))},
            r"reference is \[1, 32, 24, 4\]: connect an IMAGE of three channels",
        ),
        ({"poses": image(noise(3, 16, 16, 1))}, r"poses is \[3, 16, 16, 1\]"),
        ({"poses": Tensor(np.full((3, 16, 16, 3), np.nan, np.float32))}, "poses has NaN .* in picture 0"),
        ({"faces": image(noise(2, 16, 16))}, "faces has 2 masks for 3 poses"),
        ({"faces": image(noise(3, 16, 16, 3))}, r"faces is \[3, 16, 16, 3\]: connect a MASK"),
        ({"faces": None}, "reference_face is connected without faces"),
        ({"reference_face": None}, "faces is connected without reference_face"),
        ({"reference_face": image(noise(2, 16, 16))}, "reference_face has 2 pictures"),
        ({"identity": " "}, "the case has no identity: set identity to a .npy file"),
    ],
)
def test_what_makes_no_case(changes, sentence, nodes):
    with pytest.raises(InputError, match=sentence):
        case_from_images(nodes, **changes)


@pytest.fixture
def folder(home) -> Path:
    """A case of three frames in ComfyUI's input folder."""
    case = home / "input" / "case"
    picture_file(case / "reference.png", 32, 32)
    for i in range(3):
        picture_file(case / "poses" / f"frame_{i}.png", 32, 32, seed=i)
    np.save(case / "identity.npy", np.ones(8, np.float32))
    return case


def test_load_case_takes_a_part(nodes, folder):
    def load(first: int, frames: int, **further: str):
        (made,) = nodes["LoadCase"].execute("case", first, frames, **further).args
        return made

    assert load(0, 0).case.frames == 3 and load(0, 0).identity is None
    assert [path.name for path in load(1, 2).case.poses] == ["frame_1.png", "frame_2.png"]
    assert load(2, 0).case.frames == 1
    assert load(0, 0, identity="none").identity == "none"
    assert load(0, 0, identity="case/identity.npy").identity == str(folder / "identity.npy")
    assert load(0, 0, models=str(folder)).models == folder
    with pytest.raises(InputError, match="is no part of the case"):
        load(2, 2)
    (folder / "identity.npy").unlink()
    with pytest.raises(InputError, match="has no identity"):
        load(0, 0)
    with pytest.raises(InputError, match="folder is empty"):
        nodes["LoadCase"].execute(" ", 0, 0)
    with pytest.raises(InputError, match="~nobody-of-that-name"):
        nodes["LoadCase"].execute("~nobody-of-that-name/case", 0, 0)


def test_a_changed_file_of_a_case_is_seen(nodes, folder):
    def fingerprint() -> str:
        return nodes["LoadCase"].fingerprint_inputs(folder="case", first=0, frames=0)

    first = fingerprint()
    assert fingerprint() == first
    picture_file(folder / "poses" / "frame_3.png", 32, 32)
    second = fingerprint()
    np.save(folder / "identity.npy", np.ones(9, np.float32))
    assert len({first, second, fingerprint()}) == 3
    nodes["LoadCase"].fingerprint_inputs(folder=None)  # as ComfyUI asks where another node gives it
    of_images = nodes["CaseFromImages"].fingerprint_inputs
    before = of_images(identity="case/identity.npy")
    np.save(folder / "identity.npy", np.ones(10, np.float32))
    assert of_images(identity="case/identity.npy") != before


# Preparing


@pytest.fixture
def sources(home) -> dict:
    """What Prepare Case takes, and the same as files for sa-prepare."""
    given = home / "input"
    photo = picture_file(given / "photo.png", 128, 128)
    frames = [picture_file(given / "frames" / f"f{i}.png", 256, 128, seed=i) for i in range(FRAMES)]
    write_keypoints(given / "poses.npz", [person(0.2, 40 + 4 * i, 10) for i in range(FRAMES)], person(0.25))
    return {
        "reference": image(np.asarray(Image.open(photo))[None]),
        "driving": image(np.stack([np.asarray(Image.open(frame)) for frame in frames])),
        "fps": 25.0,
        "width": 64,
        "height": 64,
        "person": "largest",
        "keypoints": "poses.npz",
        "identity": "none",
    }


def test_a_prepared_case_is_that_of_sa_prepare(nodes, comfyui, home, sources, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    case, preview, report = nodes["PrepareCase"].execute(**sources).args
    given = home / "input"
    words = ["--reference", given / "photo.png", "--driving", given / "frames", "--out", tmp_path / "case"]
    words += ["--keypoints", given / "poses.npz", "--size", "64x64", "--quiet"]
    assert sa_prepare([*map(str, words)]) == 0
    expected = Case.read(tmp_path / "case")
    assert case.case.digest(refined=True) == expected.digest(refined=True)
    assert case.case.fps == 25.0 and case.identity == "none"
    assert preview.numpy().shape == (FRAMES, 64, 256, 3)
    assert preview.numpy().dtype == np.float32 and 0 <= preview.numpy().min() < 0.5 < preview.numpy().max() <= 1
    assert json.loads(report)["alignment"] == json.loads((tmp_path / "case" / "case.json").read_text())["alignment"]
    assert [value for value, _ in comfyui.progress] == sorted(value for value, _ in comfyui.progress)
    assert comfyui.progress[-1] == (1000, 1000)
    assert [path.name[: len(PREFIX)] for path in (tmp_path / "temporary").iterdir()] == [PREFIX]
    del case
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())


def test_options_are_flags_of_sa_prepare(nodes, home, sources, tmp_path):
    names = {one.id: one.default for one in nodes["PrepareOptions"].define_schema().inputs}
    assert names | {"fps": None} == PrepareOptions().model_dump()
    chosen = {"fit": "pad", "background": "#30c040", "anchor": "hips", "retarget": "limbs", "smooth": True}
    (options,) = nodes["PrepareOptions"].execute(**names | chosen).args
    case, *_ = nodes["PrepareCase"].execute(**sources, options=options).args
    given, flags = home / "input", ["--size", "64x64", "--fps", "25", "--quiet", "--smooth"]
    flags += [word for name, value in chosen.items() if name != "smooth" for word in (f"--{name}", value)]
    words = ["--reference", given / "photo.png", "--driving", given / "frames", "--out", tmp_path / "case"]
    assert sa_prepare([*map(str, words), "--keypoints", str(given / "poses.npz"), *flags]) == 0
    assert case.case.digest(refined=True) == Case.read(tmp_path / "case").digest(refined=True)
    with pytest.raises(InputError, match="background: must be a colour"):
        nodes["PrepareOptions"].execute(**names | {"background": "sky"})


def test_what_is_said_names_inputs_of_the_node(nodes, sources):
    assert worded("keep it with --anchor hips or --no-fill; see sa-export --tile-size") == (
        "keep it with anchor hips or no_fill; see sa-export --tile-size"
    )
    with pytest.raises(InputError, match=r"^person 9: no driving frame shows so many persons"):
        nodes["PrepareCase"].execute(**sources | {"person": "9"})


def test_a_case_can_be_kept(nodes, home, sources):
    for _ in range(2):  # the second replaces the first
        (case, _, _) = nodes["PrepareCase"].execute(**sources, folder="kept").args
        del case
        gc.collect()
    assert Case.read(home / "input" / "kept").frames == FRAMES


@pytest.mark.parametrize("at", [1, FRAMES + 3, 3 * FRAMES])
def test_preparing_can_be_interrupted(at, nodes, comfyui, sources, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    comfyui.interrupt_at = at
    with pytest.raises(InterruptProcessingException):
        nodes["PrepareCase"].execute(**sources)
    assert comfyui.checks == at
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"person": "somebody"}, "person must be largest, all, or a number from 0, not 'somebody'"),
        ({"width": 100}, "must be WIDTHxHEIGHT, both multiples of 64"),
        ({"keypoints": ""}, "poses come from networks or from files"),
        ({"keypoints": "absent.npz"}, "absent.npz cannot be read"),
        ({"identity": ""}, "the case has no identity"),
    ],
)
def test_what_cannot_be_prepared(changes, sentence, nodes, sources):
    with pytest.raises(InputError, match=sentence):
        nodes["PrepareCase"].execute(**sources | changes)


def test_prepare_says_which_extra_it_needs(nodes, sources, monkeypatch):
    monkeypatch.setitem(sys.modules, "sa.runtime.prepare.preparation", None)
    with pytest.raises(InputError, match=r"pip install 'stableanimator-deploy\[prepare\]'"):
        nodes["PrepareCase"].execute(**sources)


# Animating


@pytest.fixture
def engine_folder(home, engines) -> Path:
    folder = engines("recipe_hjb", "onnxruntime", "--refine")
    (home / "models" / "stableanimator" / "small").symlink_to(folder)
    return folder


@pytest.fixture
def animated(nodes, engine_folder, case_folder):
    """animated(settings): what Animate gives for a golden case."""
    (opened,) = nodes["LoadEngines"].execute("small", "as exported", "always").args
    (case,) = nodes["LoadCase"].execute(str(case_folder("recipe_hjb")), 0, 0).args

    def animate(**changes: object) -> tuple:
        settings = {"quality": "exact", "steps": STEPS, "guidance": 3.0, "seed": 7, "frames_per_piece": 0}
        return nodes["Animate"].execute(opened, case, **settings | changes).args

    return animate


@pytest.mark.parametrize("refine", [False, True])
def test_frames_are_those_of_sa_run(refine, nodes, animated, engine_folder, case_folder, tmp_path):
    (options,) = nodes["RefineOptions"].execute("balanced", "face", 0.0, 0, 1, 2, 0.0).args
    (images,), fps, report = animated(refine=options if refine else None)
    words = ["--engines", engine_folder, "--case", case_folder("recipe_hjb"), "--out", tmp_path / "out", "--seed", 7]
    words += ["--steps", STEPS, "--quiet", *(("--refine", "--refine-end", 1, "--refine-iters", 2) if refine else ())]
    assert sa_run([*map(str, words)]) == 0
    written = [np.asarray(Image.open(tmp_path / "out" / "frames" / f"frame_{i}.png")) for i in range(FRAMES)]
    assert images.numpy().dtype == np.float32
    # As Save Image makes pictures of an IMAGE: it cuts off what is behind the point.
    np.testing.assert_array_equal((images.numpy() * np.float32(255)).astype(np.uint8), written)
    ran = json.loads((tmp_path / "out" / "run.json").read_text())
    assert fps == ran["fps"] and json.loads(report)["engines_digest"] == ran["engines_digest"]
    assert json.loads(report)["refine"] == ran["refine"]


def test_long_videos_go_out_in_pieces_without_a_copy(animated):
    (whole,), *_ = animated()
    pieces, *_ = animated(frames_per_piece=2)
    assert [len(piece.numpy()) for piece in pieces] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([piece.numpy() for piece in pieces]), whole.numpy())
    assert len({id(piece.numpy().base) for piece in pieces}) == 1 and pieces[0].numpy().base is not None


def test_progress_and_a_preview_of_every_step(animated, comfyui):
    animated()
    shares = [value for value, _ in comfyui.progress]
    assert shares == sorted(shares) and shares[-1] == 1000 and len(set(shares)) >= 2 * FRAMES + STEPS
    assert len(comfyui.previews) == STEPS
    assert {picture.size for picture in comfyui.previews} == {(4 * 32, 32)}  # 4 frames of 64x64, an eighth, 4 times


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_an_interrupt_ends_it_before_the_next_call_of_an_engine(share, animated, comfyui, engine_folder):
    (first,), *_ = animated()
    calls = comfyui.checks
    comfyui.checks, comfyui.interrupt_at = 0, round(share * calls)
    with pytest.raises(InterruptProcessingException):
        animated()
    assert comfyui.checks == comfyui.interrupt_at
    comfyui.interrupt_at = None
    (again,), *_ = animated()
    np.testing.assert_array_equal(first.numpy(), again.numpy())


def test_engines_are_freed_with_the_nodes_output(nodes, engine_folder, case_folder):
    (opened,) = nodes["LoadEngines"].execute("small", "cpu", "always").args
    (case,) = nodes["LoadCase"].execute(str(case_folder("recipe_hjb")), 0, 0).args
    nodes["Animate"].execute(opened, case, "exact", 1, 1.0, 0, 0)
    pipeline = opened.pipeline
    assert pipeline._warm._kept
    del opened
    gc.collect()
    assert not pipeline._warm._kept


def test_a_quality_brings_its_steps():
    for name, quality in qualities().items():
        assert settings_of(name, 0, 3.0, 0, None).steps == quality.steps
        assert settings_of(name, 4, 3.0, 0, None) == replace(quality_settings(name), steps=4, seed=0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"quality": "best"}, "there is no quality 'best': choose exact, balanced"),
        (
            {"refine": RefineOptions("fast", "face", start=2)},
            "the refinement's start must be less than the 2 steps, not 2",
        ),
    ],
)
def test_what_cannot_be_animated(changes, sentence, animated):
    with pytest.raises(InputError, match=sentence):
        animated(**changes)


def test_refine_options(nodes):
    def settings(*values):
        (made,) = nodes["RefineOptions"].execute(*values).args
        return made.settings(STEPS)

    usual = (-1, -1, 0, 0.0)
    for preset in refine_presets():
        assert settings(preset, "face", 0.0, *usual) == refine_settings(STEPS, preset, region="face")
    expected = RefineSettings(1, 4, 2, rate=0.3, tolerance=0.01, region="frame", preset="fast")
    assert settings("fast", "frame", 0.01, 1, 4, 2, 0.3) == expected
    with pytest.raises(InputError, match="end must be at least its start, 1, not 0"):
        settings("balanced", "face", 0.0, 1, 0, 0, 0.0)


def test_an_unset_refinement_is_that_of_sa_run(nodes):
    preset, region, *others = [value.default for value in nodes["RefineOptions"].define_schema().inputs]
    assert (preset, region) == (DEFAULT, "face")
    (made,) = nodes["RefineOptions"].execute(preset, region, *others).args
    assert made.settings(STEPS) == refine_settings(STEPS, region="face")
