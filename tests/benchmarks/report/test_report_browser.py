"""The report in a real browser: it renders without script errors, asks no network for anything, and fits a phone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_manifest import manifest
from sample_rows import contender, machine, row, two_machines, write

from sa.benchmarks.report.merge import merge

pytestmark = pytest.mark.browser

NO_PAGE = "not an origin"  # how Chromium's network log names itself as the one who asks
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
HOSTILE = "<script>console.error('run')</script>\"><img src=http://example.com/x onerror=console.error('run')>"
PROBE = """<script>
const wide = document.documentElement.scrollWidth, bars = [...document.querySelectorAll('.bar svg')];
const rects = bars.flatMap(svg => [...svg.querySelectorAll('rect')].map(r => [r, svg]));
parent.postMessage(JSON.stringify({
  wide, inner: innerWidth, bars: bars.length,
  outside: rects.filter(([r, s]) => r.getBoundingClientRect().right > s.getBoundingClientRect().right + 1).length,
  smallest: Math.min(...[...document.querySelectorAll('svg text')].map(t => parseFloat(getComputedStyle(t).fontSize))),
  unhatched: rects.filter(([r]) => {
    const id = getComputedStyle(r).fill.match(/#([a-z]+)/);
    return !id || document.getElementById(id[1])?.tagName !== 'pattern';
  }).length,
}), '*');
</script>"""
# Chromium's own window is never narrower than 500 pixels; a frame is.
FRAME = """<body style="margin: 0"><script>onmessage = event => { document.body.dataset.probe = event.data; };</script>
<iframe src="probed.html" style="border: 0; width: %dpx; height: 2000px"></iframe>"""


class Browser:
    def __init__(self, folder: Path):
        self.program = shutil.which("chromium") or pytest.fail("chromium is missing: apt-get install chromium")
        self.folder = folder

    def show(self, page: Path, *flags: str) -> tuple[str, list[str], list[str]]:
        """Load a page: what the flags print, the console's messages, and the addresses the page asked for."""
        log = self.folder / "net.json"
        own = (f"--user-data-dir={self.folder / 'profile'}", f"--log-net-log={log}", page.as_uri())
        done = subprocess.run([self.program, *FLAGS, *flags, *own], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        console = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
        events = json.loads(log.read_text())["events"]
        asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
        return done.stdout, console, [each["url"] for each in asked if each["initiator"] != NO_PAGE]

    def probe(self, page: Path, width: int) -> dict:
        """Measures of a copy of the page that may run a script."""
        source = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text(encoding="utf-8"))
        copy = source.replace("</body>", f"{PROBE}</body>")
        (self.folder / "probed.html").write_text(copy, encoding="utf-8")
        frame = self.folder / "frame.html"
        frame.write_text(FRAME % width)
        dom, console, _ = self.show(frame, "--dump-dom", "--window-size=1400,2000", "--virtual-time-budget=5000")
        assert not console
        return json.loads(re.search(r'data-probe="([^"]*)"', dom)[1].replace("&quot;", '"'))


@pytest.fixture
def browser(tmp_path):
    return Browser(tmp_path)


@pytest.fixture
def page(tmp_path):
    hostile = contender(name=HOSTILE, backend=HOSTILE, digest="")
    where = machine(device=HOSTILE, system=HOSTILE)
    files = [*two_machines(), [row(machine=where, contender=hostile), row(machine=where, subject=f"engine {HOSTILE}")]]
    merge(write(tmp_path, files), tmp_path / "report", {"H100": 2.5}, [manifest()])
    return tmp_path / "report" / "report.html"


def test_the_browser_would_tell(browser, tmp_path):
    """A page with a fault of each kind. Without this, the other tests would prove nothing."""
    bad = tmp_path / "bad.html"
    bad.write_text("<body><script>console.error('one'); two()</script><img src='http://example.com/three.png'>")
    _, console, asked = browser.show(bad, "--dump-dom")
    assert len(console) == 2 and asked == ["http://example.com/three.png"]


def test_the_page_renders_without_errors_or_network(browser, page):
    dom, console, asked = browser.show(page, "--dump-dom")
    assert console == [] and asked == []
    assert dom.count("<figure>") >= 8 and "</html>" in dom
    assert "<script" not in dom and "<img" not in dom
    assert "floor, not measured" in dom and HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in dom


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_screen(browser, page, width):
    found = browser.probe(page, width)
    assert found["wide"] <= found["inner"] == width
    assert found["bars"] > 50 and found["outside"] == 0
    assert found["smallest"] >= 12  # pixels: letters do not shrink with the screen


def test_charts_need_no_colour(browser, page, tmp_path):
    """Every bar is filled with a pattern, and without colour no two patterns look alike."""
    assert browser.probe(page, 1280)["unhatched"] == 0
    source = page.read_text(encoding="utf-8")
    names = re.findall(r'<pattern id="([a-z]+)"', source)
    swatches = "".join(
        f'<svg style="position:absolute;top:{40 * i}px;left:0" width="200" height="40">'
        f'<rect width="200" height="40" fill="url(#{name})"/></svg>'
        for i, name in enumerate(names)
    )
    sheet = tmp_path / "sheet.html"
    definitions = re.search(r"<defs>.*?</defs>", source, re.S)[0]
    sheet.write_text(f'<body style="margin:0"><svg width="0" height="0">{definitions}</svg>{swatches}')
    picture = tmp_path / "sheet.png"
    browser.show(sheet, f"--screenshot={picture}", f"--window-size=200,{40 * len(names)}")
    gray = np.asarray(Image.open(picture).convert("L"), np.float64)
    looks = {name: gray[40 * i + 2 : 40 * i + 38, 2:198] for i, name in enumerate(names)}
    for name, one in looks.items():
        for other, two in looks.items():
            if name < other:
                difference = abs(one.mean() - two.mean()) + abs(one.std() - two.std())
                assert difference > 10, f"{name} and {other} look alike in black and white"


def test_a_picture_of_the_page_is_not_blank(browser, page, tmp_path):
    picture = tmp_path / "page.png"
    browser.show(page, f"--screenshot={picture}", "--window-size=1280,3000")
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (3000, 1280)
    assert 0.01 < (pixels < 128).mean() < 0.5
