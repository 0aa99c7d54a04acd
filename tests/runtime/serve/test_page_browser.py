"""The page in a real browser: the whole way by keyboard, on a phone, in the dark, in Chinese, asking nobody else."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prepare_data import person, picture_file, video_file, write_keypoints
from serving import FREE, Server, until, zipped

pytestmark = pytest.mark.serve
playwright = pytest.importorskip("playwright.sync_api", reason="make test-serve installs it")

WIDE, PHONE = {"width": 1000, "height": 800}, {"width": 320, "height": 568}
SECONDS = 60_000  # milliseconds, for anything that is waited for
PIXELS = """() => {
  const image = document.getElementById("shown-frame");
  const canvas = new OffscreenCanvas(image.naturalWidth || 1, image.naturalHeight || 1).getContext("2d");
  canvas.drawImage(image, 0, 0);
  return [...canvas.getImageData(0, 0, image.naturalWidth || 1, image.naturalHeight || 1).data];
}"""
LOOK = {"light-en": ("light", "en-US"), "dark-zh": ("dark", "zh-CN")}


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium") or pytest.fail("chromium is missing: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(engines, tmp_path_factory):
    flags = ("--engines", engines("recipe_hjb", "onnxruntime", "--refine", "--refine-plan", "segmented"), *FREE)
    with Server(tmp_path_factory.mktemp("data"), *flags, "--threads", 1) as server:
        server.ready()
        yield server


@pytest.fixture
def case(case_folder, tmp_path):
    path = tmp_path / "case.zip"
    path.write_bytes(zipped(case_folder("recipe_hjb")))
    return path


class Visit:
    """A page that is open, everything it asked for, and what went wrong in it."""

    def __init__(self, browser, server, viewport: dict, scheme: str = "light", language: str = "en-US", path: str = ""):
        self.context = browser.new_context(
            viewport=viewport, color_scheme=scheme, locale=language, reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.set_default_timeout(SECONDS)
        self.page.goto(server.address + path)
        self.page.wait_for_selector("#quality input", state="attached")

    def close(self, server) -> None:
        self.context.close()
        outside = [url for url in self.asked if not url.startswith((server.address, f"blob:{server.address}"))]
        assert outside == [] and self.wrong == []


def press(page, key: str, until: str, most: int = 60) -> None:
    """Press a key until the element of this selector has the focus."""
    for _ in range(most):
        if page.evaluate("selector => document.activeElement?.matches(selector)", until):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{until} is not reached by {key}")


def submit(page, case: Path) -> str:
    """Fill in the form; the id of the job it made."""
    page.check("[name=source][value=case]")
    page.set_input_files("#case", case)
    page.check("#consent")
    page.click("#submit")
    page.wait_for_selector("#start:visible")
    return page.url.split("#")[1]


def serious(page) -> list[tuple[str, str, str]]:
    """What axe-core finds wrong in the page as it is now: rule, help and the first element of each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], one["help"], one["nodes"][0]["html"]) for one in found]


def test_the_whole_way_by_keyboard(browser, server, case, tmp_path):
    visit = Visit(browser, server, WIDE)
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    press(page, "Tab", "[name=source]")
    page.keyboard.press("ArrowDown")
    with page.expect_file_chooser() as chosen:  # begun before the way there: the browser needs a moment to take part
        press(page, "Tab", "#case")
        page.keyboard.press("Enter")
    chosen.value.set_files(case)
    press(page, "Tab", "[name=quality]")
    page.keyboard.press("ArrowUp")
    press(page, "Tab", "#consent")
    page.keyboard.press("Space")
    press(page, "Tab", "#submit")
    page.keyboard.press("Enter")
    page.wait_for_selector("#job-title:focus")
    page.wait_for_selector("#start:visible")
    page.wait_for_selector("#preview[src]")
    until(lambda: page.evaluate("document.getElementById('preview').readyState >= 2"))
    press(page, "Tab", "#start")
    page.keyboard.press("Enter")
    page.wait_for_selector("#step-shown[src]", state="attached")
    page.wait_for_selector("#result:visible")
    job = page.url.split("#")[1]
    assert server.video(job)["settings"]["quality"] == "exact"
    press(page, "Tab", "#index")
    page.keyboard.press("End")
    playwright.expect(page.locator("#index-shown")).to_have_text("Frame 5 of 5")
    frame = server.client.get(f"/v1/videos/{job}/content", params={"variant": "frame", "index": 4}).content
    with Image.open(io.BytesIO(frame)) as picture:
        expected = list(picture.convert("RGBA").tobytes())
    until(lambda: page.evaluate(PIXELS) == expected)
    press(page, "Tab", "[data-variant=video]")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == f"{job}.mp4"
    assert Path(download.value.path()).read_bytes() == server.result(job)["animation.mp4"]
    press(page, "Tab", "#run summary")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#run pre")).to_contain_text("engines_digest")
    press(page, "Tab", "#cancel")
    page.keyboard.press("Enter")
    press(page, "Tab", "dialog [value=yes]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#job", state="hidden")
    assert server.client.get(f"/v1/videos/{job}").status_code == 404
    visit.close(server)


def test_a_job_is_cancelled_while_it_is_at_work(browser, server, case):
    visit = Visit(browser, server, WIDE)
    page = visit.page
    page.check("#refine")
    job = submit(page, case)
    page.click("#start")
    page.wait_for_selector("#stages [aria-current] >> text=Sample")
    page.wait_for_selector("#step:visible")
    assert serious(page) == []
    page.click("#cancel")
    page.click("dialog [value=yes]")
    page.wait_for_selector("#new:visible")
    assert server.client.get(f"/v1/videos/{job}").status_code == 404
    visit.close(server)


def test_what_is_missing_is_said_and_focused(browser, server, case):
    visit = Visit(browser, server, WIDE)
    page = visit.page
    for field, fill in (
        ("reference", lambda: page.set_input_files("#reference", case)),
        ("driving", lambda: page.set_input_files("#driving", case)),
        ("keypoints", lambda: page.set_input_files("#keypoints", case)),
        ("consent", lambda: page.check("#consent")),
    ):
        page.click("#submit")
        page.wait_for_selector(f"#{field}:focus")
        assert page.is_visible("#form-problem")
        fill()
    page.click("#submit")  # a zip file is no photo: the server says so
    playwright.expect(page.locator("#form-problem")).to_contain_text("not a picture", timeout=SECONDS)
    assert page.evaluate("document.activeElement.id") == "reference"
    visit.context.close()


def test_how_a_case_is_made_is_chosen_in_the_folded_part(browser, server, tmp_path):
    """What is changed is sent; what the server refuses is said."""
    reference = picture_file(tmp_path / "photo.png", 128, 128)
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    driving = video_file(tmp_path / "dance.mp4", list(noise), [i / 25 for i in range(6)])
    keypoints = write_keypoints(tmp_path / "poses.npz", [person(0.1, i) for i in range(6)], person(0.25))
    visit = Visit(browser, server, WIDE)
    page = visit.page
    assert not page.is_visible("[data-option=anchor]")
    for field, file in (("reference", reference), ("driving", driving), ("keypoints", keypoints)):
        page.set_input_files(f"#{field}", file)
    page.click("#options summary")
    assert serious(page) == []
    page.select_option("[data-option=anchor]", "hips")
    page.fill("[data-option=fps]", "50")
    page.fill("[data-option=background]", "sky")
    page.check("[data-option=smooth]")
    page.check("#faceless")  # this server has no face networks
    page.check("#consent")
    page.click("#submit")
    playwright.expect(page.locator("#form-problem")).to_contain_text("prepare.background: must be a colour")
    visit.wrong.clear()  # the browser tells of the refusal, too
    page.fill("[data-option=background]", "#102030")
    page.click("#submit")
    page.wait_for_selector("#start:visible")
    job = server.video(page.url.split("#")[1])
    changed = {"anchor": "hips", "fps": 50, "background": "#102030", "smooth": True}
    usual = {"fit": "crop", "reference_person": "largest", "retarget": "body", "no_fill": False}
    assert job["settings"]["prepare"] == usual | changed and job["frames"] == 12
    visit.close(server)


@pytest.mark.parametrize("look", LOOK)
def test_it_fits_a_phone_in_every_state(browser, server, case, look, tmp_path):
    scheme, language = LOOK[look]
    visit = Visit(browser, server, PHONE, scheme, language)
    page = visit.page

    def fits() -> None:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        small = page.evaluate(
            "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 24).length"
        )
        assert small == 0

    fits()
    page.click("#options summary")
    fits()
    assert serious(page) == []
    job = submit(page, case)
    fits()
    page.click("#start")
    page.wait_for_selector("#result:visible")
    fits()
    page.screenshot(path=str(tmp_path / "phone.png"), full_page=True)
    assert page.evaluate("document.documentElement.lang") == language[:2]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 19, 22)"
    assert dark == (scheme == "dark")
    server.client.delete(f"/v1/videos/{job}")
    visit.close(server)


@pytest.mark.parametrize("look", LOOK)
def test_axe_finds_nothing_serious(browser, server, case, look):
    scheme, language = LOOK[look]
    visit = Visit(browser, server, WIDE, scheme, language)
    page = visit.page

    def look_at(state: str) -> None:
        assert serious(page) == [], state

    look_at("the form")
    page.click("#submit")
    look_at("a complaint")
    job = submit(page, case)
    look_at("the review")
    page.click("#cancel")
    look_at("the question")
    page.click("dialog [value=no]")
    page.click("#start")
    page.wait_for_selector("#result:visible")
    look_at("the result")
    server.client.delete(f"/v1/videos/{job}")
    visit.context.close()


def test_axe_would_tell(browser):
    page = browser.new_page()
    page.set_content("<html><body><img src='x'><input><p style='color:#ccc;background:#fff'>pale</p></body></html>")
    found = {one[0] for one in serious(page)}
    assert {"image-alt", "label", "color-contrast", "html-has-lang"} <= found
    page.close()


def test_every_word_is_there_in_both_languages():
    page = Path(__file__).parents[3] / "runtime" / "serve" / "page"
    words = (page / "words.js").read_text(encoding="utf-8")
    known = re.findall(r'^  "([^"]+)": \["[^"]+", "[^"]+"\],$', words, re.MULTILINE)
    assert len(known) == len(set(known)) > 80
    sources = "".join(path.read_text(encoding="utf-8") for path in page.iterdir() if path.name != "words.js")
    used = set(re.findall(r'data-word="([^"]+)"', sources)) | set(re.findall(r'say\("([^"]+)"', sources))
    assert used <= set(known)


def test_a_token_is_asked_for_and_used(browser, engines, case, tmp_path):
    token = tmp_path / "token"
    token.write_text("a-token-of-24-characters\n")
    flags = ("--engines", engines("recipe_hjb", "onnxruntime"), *FREE, "--token", token, "--threads", 1)
    with Server(tmp_path / "data", *flags) as server:
        context = browser.new_context(viewport=WIDE)
        page = context.new_page()
        page.goto(server.address)
        page.fill("#token", "a-token-of-24-characters")
        page.keyboard.press("Enter")
        page.wait_for_selector("#quality input")
        submit(page, case)
        page.click("#start")
        page.wait_for_selector("#result:visible", timeout=SECONDS)
        page.wait_for_selector("#shown-frame[src]")
        context.close()
