"""The nodes in a real ComfyUI: make test-comfyui COMFYUI=DIR. Nothing of ComfyUI is in this project."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_comfyui import SECONDS, ComfyUI, prompt_of, resident, until
from set_cache import exported

from sa.benchmarks.puppet import CHECKPOINT, PRESET
from sa.benchmarks.puppet.cases import embed_reference, write_case
from sa.benchmarks.serve_demo import write_files
from sa.runtime.cli import main as sa_run
from sa.runtime.comfyui.install import PACK, install
from sa.runtime.engine_set.verify import read_manifest
from sa.runtime.prepare.cli import main as sa_prepare

pytestmark = pytest.mark.comfyui
playwright = pytest.importorskip("playwright.sync_api", reason="make test-comfyui installs it")

PUPPET, FRAMES = 1, 12  # of which two tiles are made
STEPS, SEED, GUIDANCE = 4, 7, 1.0
# Neither the first visitor's tour nor what covers the canvas.
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}
# Takes the grid away, which would double a picture's size, and says where the nodes are.
PLACE = """() => {
  const { canvas, graph } = window.app, { scale, offset } = canvas.ds, frame = canvas.canvas.getBoundingClientRect();
  canvas.background_image = null;
  canvas.setDirty(true, true);
  const ends = (axis, sizes) => graph.nodes.map(node => node.pos[axis] + (sizes ? node.size[axis] : 0));
  const [left, top] = [Math.min(...ends(0)) - 12, Math.min(...ends(1)) - 50];  // with titles
  const [right, bottom] = [Math.max(...ends(0, true)) + 12, Math.max(...ends(1, true)) + 12];
  const x = frame.x + (left + offset[0]) * scale, y = frame.y + (top + offset[1]) * scale;
  return [x, y, (right - left) * scale, (bottom - top) * scale];
}"""
PICTURES = Path(__file__).parents[3] / ".cache" / "comfyui"
EXAMPLES = sorted((PACK / "example_workflows").glob("*.json"))


@pytest.fixture(scope="module")
def puppet() -> Path:
    return exported("puppet", CHECKPOINT, ["--preset", PRESET, "--refine"])


@pytest.fixture(scope="module")
def base(puppet, tmp_path_factory) -> Path:
    """What ComfyUI works in: the nodes, the puppet's engines and things to animate."""
    folder = tmp_path_factory.mktemp("comfyui")
    for name in ("custom_nodes", "input", "output"):
        (folder / name).mkdir()
    install(folder)
    (folder / "models" / "stableanimator" / "puppet").symlink_to(puppet)
    given = folder / "input"
    write_files(given)
    write_case(given / "case", "held-out", PUPPET, FRAMES)
    embed_reference(given / "case", CHECKPOINT)
    (given / "models").mkdir()
    recogniser = next(engine for engine in read_manifest(puppet)[0].engines if engine.role == "arcface")
    for file in recogniser.files:
        shutil.copy(puppet / file.name, given / "models" / file.name)
    return folder


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium") or pytest.fail("chromium is missing: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def comfyui(base):
    code, python = Path(os.environ["COMFYUI"]), Path(os.environ["COMFYUI_PYTHON"])
    with ComfyUI(code, python, base) as running:
        yield running


def workflow(case: dict, steps: int = STEPS, seed: int = SEED, refine: bool = False) -> dict:
    """A prompt that animates a case and saves the frames. case: the prompt's nodes that make it, the last one does."""
    prompt = {
        "engines": node("SA_LoadEngines", engines="puppet", device="as exported", keep_loaded="always"),
        **case,
        "animate": node(
            "SA_Animate",
            engines=["engines", 0],
            case=[list(case)[-1], 0],
            quality="exact",
            steps=steps,
            guidance=GUIDANCE,
            seed=seed,
            frames_per_piece=0,
        ),
        "save": node("SaveImage", images=["animate", 0], filename_prefix="frame"),
    }
    if refine:
        steps = {"start": 0, "end": 1, "iterations": 1}
        prompt["refine"] = node("SA_RefineOptions", preset="balanced", region="face", tolerance=0.0, rate=0.0, **steps)
        prompt["animate"]["inputs"]["refine"] = ["refine", 0]
    return prompt


def node(kind: str, **inputs: object) -> dict:
    return {"class_type": kind, "inputs": inputs}


CASE = {"case": node("SA_LoadCase", folder="case", first=0, frames=0, identity="", models="")}


def saved(comfyui: ComfyUI, ended: dict) -> np.ndarray:
    """The frames that Save Image wrote."""
    assert ended["status"]["status_str"] == "success", ended["status"]["messages"][-1]
    files = [comfyui.base / "output" / image["filename"] for image in ended["outputs"]["save"]["images"]]
    return np.stack([np.asarray(Image.open(file)) for file in files])


def of_sa_run(engines: Path, case: Path, out: Path, *flags: object) -> np.ndarray:
    words = ["--engines", engines, "--case", case, "--out", out, "--guidance", GUIDANCE, *flags, "--quiet"]
    assert sa_run([*map(str, words)]) == 0
    written = sorted((out / "frames").iterdir(), key=lambda path: int(path.stem.removeprefix("frame_")))
    return np.stack([np.asarray(Image.open(file)) for file in written])


def require_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1  # level of 255


@pytest.mark.parametrize("refine", [False, True])
def test_frames_are_those_of_sa_run(refine, comfyui, puppet, base, tmp_path):
    prompt = comfyui.post(workflow(CASE, refine=refine))
    flags = ("--refine", "--refine-end", 1, "--refine-iters", 1) if refine else ()
    expected = of_sa_run(puppet, base / "input" / "case", tmp_path / "out", "--steps", STEPS, "--seed", SEED, *flags)
    require_equal(saved(comfyui, comfyui.wait(prompt)), expected)


def batch(name: str, files: list[str]) -> dict:
    """The nodes that load pictures and join them; `name` has them all."""
    nodes = {f"{name}{i}": node("LoadImage", image=file) for i, file in enumerate(files)}
    last = f"{name}0"
    for i in range(1, len(files)):
        joined = name if i == len(files) - 1 else f"{name} to {i}"
        nodes[joined] = node("ImageBatch", image1=[last, 0], image2=[f"{name}{i}", 0])
        last = joined
    return nodes


def test_a_case_from_images_and_masks(comfyui, puppet, base, tmp_path):
    """Pictures along ComfyUI's links, face masks and all, are those in the folder."""
    given, count = base / "input", 8
    names = {part: [f"{part}_{i}.png" for i in range(count)] for part in ("poses", "faces")}
    for part, files in names.items():
        for i, file in enumerate(files):
            shutil.copy(given / "case" / part / f"frame_{i}.png", given / file)
    for file in ("reference.png", "reference_mask.png"):
        shutil.copy(given / "case" / file, given / file)
    parts = {
        **batch("poses", names["poses"]),
        **batch("faces", names["faces"]),
        "masks": node("ImageToMask", image=["faces", 0], channel="red"),
        "reference": node("LoadImage", image="reference.png"),
        "mask": node("LoadImageMask", image="reference_mask.png", channel="red"),
        "case": node(
            "SA_CaseFromImages",
            reference=["reference", 0],
            poses=["poses", 0],
            faces=["masks", 0],
            reference_face=["mask", 0],
            fps=8.0,
            identity="case/identity.npy",
            models="",
        ),
    }
    prompt = comfyui.post(workflow(parts, refine=True))
    flags = ("--steps", STEPS, "--seed", SEED, "--refine", "--refine-end", 1, "--refine-iters", 1, "--frames", "0:8")
    expected = of_sa_run(puppet, given / "case", tmp_path / "out", *flags)
    require_equal(saved(comfyui, comfyui.wait(prompt)), expected)


def test_a_prepared_case_is_that_of_sa_prepare(comfyui, puppet, base, tmp_path):
    given = base / "input"
    parts = {
        "photo": node("LoadImage", image="photo.png"),
        "video": node("LoadVideo", file="dance.mp4"),
        "frames": node("GetVideoComponents", video=["video", 0]),
        "options": node(
            "SA_PrepareOptions",
            fit="crop",
            reference_person="largest",
            background="white",
            anchor="hips",
            retarget="limbs",
            no_fill=False,
            smooth=False,
        ),
        "case": node(
            "SA_PrepareCase",
            reference=["photo", 0],
            driving=["frames", 0],
            fps=["frames", 2],
            width=128,
            height=128,
            person="largest",
            keypoints="keypoints.npz",
            models="models",
            identity="",
            options=["options", 0],
            folder="",
        ),
    }
    ended = comfyui.wait(comfyui.post(workflow(parts)))
    words = ["--reference", given / "photo.png", "--driving", given / "dance.mp4", "--out", tmp_path / "case"]
    words += ["--keypoints", given / "keypoints.npz", "--models", given / "models", "--size", "128x128", "--quiet"]
    assert sa_prepare([*map(str, words), "--anchor", "hips", "--retarget", "limbs"]) == 0
    flags = ("--steps", STEPS, "--seed", SEED)
    require_equal(saved(comfyui, ended), of_sa_run(puppet, tmp_path / "case", tmp_path / "out", *flags))


def test_what_is_unchanged_is_not_done_again(comfyui):
    comfyui.wait(comfyui.post(workflow(CASE)))
    again = comfyui.post(workflow(CASE))
    comfyui.wait(again)
    assert set(until(lambda: comfyui.told("execution_cached", again))[0]["nodes"]) == {*workflow(CASE)}
    other = comfyui.post(workflow(CASE, seed=SEED + 1))
    comfyui.wait(other)
    assert set(comfyui.told("execution_cached", other)[0]["nodes"]) == {"engines", "case"}


def test_progress_and_a_preview_of_every_step(comfyui):
    before = sum(message["type"] == "preview" for message in comfyui.messages)
    prompt = comfyui.post(workflow(CASE, seed=SEED + 2))
    comfyui.wait(prompt)
    bar = [state["nodes"]["animate"] for state in comfyui.told("progress_state", prompt) if "animate" in state["nodes"]]
    shares = [one["value"] / one["max"] for one in bar]
    assert shares == sorted(shares) and shares[-1] == 1 and len(set(shares)) > STEPS * 2
    assert sum(message["type"] == "preview" for message in comfyui.messages) - before == STEPS


def test_an_interrupt_ends_the_run_within_a_tile_and_the_next_prompt_runs(comfyui, puppet, base, tmp_path):
    def tiles(prompt: str) -> int:
        """How often the bar moved while denoising."""
        values = [state["nodes"].get("animate", {}).get("value", 0) for state in comfyui.told("progress_state", prompt)]
        return sum(value > 50 for value in values)

    prompt = comfyui.post(workflow(CASE, steps=1000))
    until(lambda: tiles(prompt) > 4)
    comfyui.client.post("/interrupt").raise_for_status()
    at = tiles(prompt)
    ended = comfyui.wait(prompt)
    assert [kind for kind, _ in ended["status"]["messages"]][-1] == "execution_interrupted"
    until(lambda: comfyui.told("execution_interrupted", prompt))
    # Of 2000 tiles and 1000 steps: the tile in whose course the interrupt came, the step it may end, one on the way.
    assert tiles(prompt) - at <= 3
    expected = of_sa_run(puppet, base / "input" / "case", tmp_path / "out", "--steps", STEPS, "--seed", SEED)
    require_equal(saved(comfyui, comfyui.wait(comfyui.post(workflow(CASE)))), expected)


def test_errors_are_one_sentence_in_the_node(comfyui):
    wrong = {"case": node("SA_LoadCase", folder="nowhere", first=0, frames=0, identity="", models="")}
    kind, error = comfyui.wait(comfyui.post(workflow(wrong)))["status"]["messages"][-1]
    assert kind == "execution_error" and error["node_id"] == "case"
    assert error["exception_message"].startswith(f"{comfyui.base / 'input' / 'nowhere'} is not a folder")
    unknown = workflow(CASE)
    unknown["engines"]["inputs"]["engines"] = "nothing"
    answer = comfyui.client.post("/prompt", json={"prompt": unknown})
    assert answer.status_code == 400 and "there is no engine set 'nothing' in" in answer.text


def test_memory_is_freed_when_comfyui_asks(comfyui, puppet):
    comfyui.wait(comfyui.post(workflow(CASE, seed=SEED + 3)))
    loaded = resident(comfyui.process.pid)
    comfyui.client.post("/free", json={"unload_models": True, "free_memory": True}).raise_for_status()
    size = sum(path.stat().st_size for path in puppet.glob("unet*"))
    until(lambda: resident(comfyui.process.pid) < loaded - size)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_runs_the_example_workflows(example, comfyui, browser):
    """Leaves a picture of the page in .cache/comfyui: docs/comfyui.md shows them."""
    assert example.stem in comfyui.client.get("/workflow_templates").json()["stableanimator"]
    workflow = json.loads(example.read_text())
    comfyui.client.post("/settings", json=SETTINGS).raise_for_status()
    page = browser.new_page(viewport={"width": 1300, "height": 760})
    page.goto(comfyui.address)
    page.wait_for_function("window.app?.extensionManager && window.app.graph?.nodes.length", timeout=SECONDS * 1000)
    page.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)
    page.wait_for_function(f"window.app.graph.nodes.length === {len(workflow['nodes'])}")
    posted = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    nodes = comfyui.client.get("/object_info").json()
    assert inputs_of(posted, nodes) == inputs_of(prompt_of(workflow, nodes), nodes)
    before = set(comfyui.client.get("/history").json())
    page.evaluate("window.app.queuePrompt(0)")
    ((_, ended),) = until(
        lambda: [one for one in comfyui.client.get("/history").json().items() if one[0] not in before]
    )
    assert ended["status"]["status_str"] == "success", ended["status"]["messages"][-1]
    page.wait_for_function("[...document.querySelectorAll('video')].every(video => video.readyState >= 2)")
    left, top, width, height = page.evaluate(PLACE)
    page.wait_for_timeout(2000)  # pictures on the canvas
    PICTURES.mkdir(parents=True, exist_ok=True)
    seen = page.screenshot(clip={"x": left, "y": top, "width": width, "height": height})
    few = {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 3, "dither": Image.Dither.NONE}
    with Image.open(io.BytesIO(seen)) as picture:
        picture.convert("RGB").quantize(256, **few).save(PICTURES / f"{example.stem}.png", optimize=True)
    page.close()


def inputs_of(prompt: dict, nodes: dict) -> dict:
    """What decides a prompt. The page adds titles, and fields of its own to some nodes."""
    return {
        key: (
            kind := one["class_type"],
            {name: one["inputs"][name] for name in one["inputs"] if known(nodes[kind], name)},
        )
        for key, one in prompt.items()
    }


def known(facts: dict, name: str) -> bool:
    return any(name in group for group in facts["input"].values())
