"""The nodes on stand-ins of ComfyUI's API: what they offer, and the engine sets they list."""

import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from standin import loaded

from sa.runtime.comfyui.install import PACK
from sa.runtime.errors import EngineSetError

IDS = ("LoadEngines", "CaseFromImages", "PrepareCase", "PrepareOptions", "LoadCase", "Animate", "RefineOptions")
LINKS = ("IMAGE", "MASK", "SA_ENGINES", "SA_CASE", "SA_PREPARE", "SA_REFINE")
METADATA = tomllib.loads((PACK / "pyproject.toml").read_text())
PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((PACK / "example_workflows").glob("*.json"))
STEPS, FRAMES = 2, 5
HEAVY = ("onnxruntime", "openvino", "paddle", "tensorrt", "tensorrt_rtx", "cuda", "cv2", "insightface", "ray", "onnx")


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
