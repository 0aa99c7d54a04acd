"""The report: what it says of known rows, what it refuses, and that foreign text stays text."""

import re
from html.parser import HTMLParser

import pytest
from sample_manifest import engine, manifest, refining_manifest
from sample_rows import (
    ENGINES,
    SHAPES,
    STAGES,
    card,
    contender,
    failed,
    machine,
    peer,
    row,
    rows_of,
    two_machines,
    write,
)

from sa.benchmarks.measure import results
from sa.benchmarks.report import comparison, parts, units
from sa.benchmarks.report.comparison import Setup, Workload, compare, without_duplicates
from sa.benchmarks.report.markdown import plain
from sa.benchmarks.report.merge import merge
from sa.benchmarks.report.sections.summary import speed
from sa.benchmarks.report.video_cost import video_cost, video_of
from sa.runtime.contract import ROLES
from sa.runtime.errors import InputError

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "|`[a](http://b.c)@d<!--",
    "a\nb\u202ec\x1b[31m",
)


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.text, self.rows = set(), [], "", []
        self._cell = None
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        self.text += data
        if self._cell:
            self.rows[-1][-1] += data

    def row(self, *starts):
        """The first row whose cells start with these."""
        return next(row for row in self.rows if row[: len(starts)] == list(starts))


@pytest.fixture
def made(tmp_path):
    """made(files, ...) -> the page and the Markdown of their report."""

    def make(files, prices=None, manifests=()):
        out = tmp_path / "report"
        merge(write(tmp_path, files), out, prices, manifests)
        for path in tmp_path.glob("*.jsonl"):
            path.unlink()
        assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.md", "rows.csv"]
        return Page(out / "report.html"), (out / "report.md").read_text(encoding="utf-8")

    return make


def test_the_page_stands_alone(made):
    page, _ = made(two_machines(), {"H100": 2.5}, [manifest()])
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page.source)
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} and "src" not in names
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")


def test_the_summary_proposes_what_the_rows_say(made):
    page, text = made(two_machines())
    said = "Run A: engines-ort (onnxruntime fp32). It needs 1,296 s for one video of 8 frames in 25 steps, 1.42× as"
    assert said in page.text
    assert "Run C: engines-trt-half (tensorrt fp16)." in page.text
    assert page.row("fastest", "A: engines-ort (onnxruntime fp32)")[2:6] == ["1,296 s", "2.1e-06", "1.42×", "6.43 GiB"]
    assert page.row("most accurate", "B: engines-paddle (paddle fp32)")[2] == "3,111 s"
    assert "| fastest | A: engines-ort (onnxruntime fp32) | 1,296 s | 2.1e-06 | 1.42× | 6.43 GiB |" in text


def test_a_set_up_beyond_its_tolerance_is_not_proposed(made):
    quick = contender(name="wrong", digest="00" * 32)
    page, _ = made([[*two_machines()[0], *rows_of(machine(), quick, 0.5, 2e-4, 6e9)]])
    assert "Run A: engines-ort (onnxruntime fp32)." in page.text
    assert "(onnxruntime fp32) is faster (648 s), but its error 2.0e-04 is beyond the tolerance 1.0e-04." in page.text


def test_a_faster_peer_is_told(made):
    page, _ = made(
        [[*rows_of(machine(), contender(), 1.0, 1e-6, 6e9), *rows_of(machine(), peer("onnx"), 0.5, 1e-6, 6e9)]]
    )
    assert "The peer B: diffusers:onnx (fp32) is faster: 648 s." in page.text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(relative_error=None)], "no engine set was compared with the float32 network"),
        ([row(relative_error=2e-4)], "no engine set is known to be within its tolerance"),
        ([row(contender=contender(precision="int3"))], "no engine set was compared"),
        ([row(contender=peer())], "only peers were measured"),
        ([failed("it fell over")], "every engine set failed"),
    ],
)
def test_nothing_is_proposed_without_a_reason(made, rows, said):
    page, _ = made([rows])
    assert f"Nothing to propose: {said}" in page.text


def test_ratios_are_against_the_eager_peer_of_the_same_machine_subject_and_shapes(made):
    page, _ = made(two_machines())
    unet = [cells for cells in page.rows if cells[0] == "unet" and len(cells) > 10]
    here = {cells[1]: cells[4] for cells in unet[:5]}
    assert here["A: engines-ort (onnxruntime fp32)"] == "1.42×" and here["B: engines-paddle (paddle fp32)"] == "0.592×"
    assert here["D: diffusers:eager (fp32)"] == "1.00×"
    there = {cells[1]: cells[4] for cells in unet[5:]}
    assert there["C: engines-trt-half (tensorrt fp16)"] == "5.94×"  # 0.0095 / 0.0016


def test_ppdiffusers_is_the_baseline_where_eager_pytorch_was_not_measured():
    paddle = row(contender=peer(name="ppdiffusers", backend="ppdiffusers"), seconds=20.0)
    eager = row(contender=peer(), seconds=6.0)

    def baseline(*rows):
        ((workload,),) = (host.workloads for host in compare([row(), *rows]))
        return workload.baseline(row()).contender.name

    assert baseline(paddle) == "ppdiffusers" and baseline(paddle, eager) == "diffusers:eager"
    assert baseline(paddle, row(contender=peer("compile"), seconds=5.0)) == "ppdiffusers"


def test_other_shapes_frames_and_networks_are_not_compared():
    other_shape = contender(shapes=contender().shapes.model_copy(update={"height": 512}))
    other_width = contender(name="narrow", digest="12" * 32)
    rows = [
        row(contender=peer()),
        row(),
        row(contender=other_shape),
        row(contender=other_width, flops=1e9),
        row(subject="engine vae_decoder", frames=3),
        row(subject="engine vae_decoder", frames=4, contender=peer()),
    ]
    (host,) = compare(rows)
    sizes = sorted(len(workload.setups) for workload in host.workloads)
    assert sizes == [1, 1, 2]
    (both,) = (workload for workload in host.workloads if len(workload.setups) == 2)
    engines = both.setups[0]
    assert both.speedup(engines.rows["engine unet"]) == 1.0
    assert both.speedup(engines.rows["engine vae_decoder"]) is None  # three frames against four


def test_a_ratio_across_devices_is_refused():
    """A peer that ran on the CPU of a machine with a GPU stands under another machine, and gives no ratio."""
    on_gpu, on_cpu = row(machine=card()), row(machine=machine(), contender=peer())
    hosts = compare([on_gpu, on_cpu])
    assert [host.machine.kind for host in hosts] == ["cuda", "cpu"]
    mixed = Workload(SHAPES, [Setup(one.contender, {one.subject: one}) for one in (on_gpu, on_cpu)])
    assert mixed.speedup(on_gpu) is None
    same = Workload(SHAPES, [Setup(one.contender, {one.subject: one}) for one in (row(), on_cpu)])
    assert same.speedup(row()) == 1.0


def test_one_video_is_put_together_from_stages(made):
    (host,) = compare(rows_of(machine(), contender(), 1.0, 1e-6, 6e9))
    (workload,) = host.workloads
    video = video_of(workload)
    assert (video.frames, video.steps) == (8, 25)
    cost = video_cost(workload.setups[0], video)
    assert cost.whole and cost.from_engines == ()
    assert cost.parts == pytest.approx(
        {"loading": 19.0, "conditioning": 9.0, "denoising": 25 * 50.0, "decoding": 2 * 18.4, "writing": 0.4}
    )
    assert cost.seconds == pytest.approx(9 + 1250 + 36.8 + 0.4)
    assert cost.euros_per_second(3.6) == pytest.approx(1296.2 / 1000)  # 8 frames are one second


def test_one_video_is_put_together_from_engines_where_no_stage_was_measured():
    rows = [r for r in rows_of(machine(), contender(), 1.0, 1e-6, 6e9) if r.subject.startswith("engine")]
    (workload,) = compare(rows)[0].workloads
    video = video_of(workload)
    assert video.frames == 16  # in tiles of two that share a frame: 15 tiles
    cost = video_cost(workload.setups[0], video)
    once = sum(ENGINES[role][2] for role in ("image_encoder", "face_encoder", "vae_encoder"))
    assert cost.parts["conditioning"] == pytest.approx(once + 16 * 0.012)
    assert cost.parts["denoising"] == pytest.approx(25 * 15 * 3.6)
    assert cost.parts["decoding"] == pytest.approx(4 * 18.2)
    assert cost.from_engines == ("loading", "conditioning", "denoising", "decoding")
    without = [r for r in rows if "decoder" not in r.subject]
    (workload,) = compare(without)[0].workloads
    cost = video_cost(workload.setups[0], video)
    assert cost.missing == ["decoding"] and cost.euros_per_second(1.0) is None
    assert speed(workload).name == "one engine unet"


def test_cost_needs_a_price_for_that_device(made):
    page, _ = made(two_machines(), {"nvidia h100": 2.5, "NVIDIA": 1.0})  # the longest name that fits counts
    assert page.row("fastest", "C: engines-trt-half (tensorrt fp16)")[6] == "€ 0.00144"  # 2.07 s / 3600 x 2.50
    assert page.row("fastest", "A: engines-ort (onnxruntime fp32)")[6] == "–"
    assert page.row("M1", "every set-up", "cost")


def test_a_price_for_no_device_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--price-per-hour B200: no such device in the results, which have Intel"):
        merge(write(tmp_path, two_machines()), tmp_path / "out", {"B200": 1.0})
    assert not (tmp_path / "out").exists()


def test_failures_and_gaps_are_listed(made):
    page, text = made(two_machines())
    assert (
        page.row("M1", "E: diffusers:onnx (fp32)", "stage whole run")[3] == "exit code -9: killed, 23.1 GiB asked for"
    )
    assert (
        page.row("M2", "D: diffusers:compile (fp32)", "engine unet")[3] == "no kernel image for compute capability 9.0"
    )
    absent = ", ".join(subject for subject in STAGES if subject != "stage whole run")
    assert page.row("M1", "E: diffusers:onnx (fp32)", absent)[3] == "measured for other set-ups, not for this one"
    assert any(cells[1:2] == ["E: diffusers:onnx (fp32)"] and cells[3] == "no accuracy" for cells in page.rows)
    assert "not compared" in page.text and "What failed and what was not measured" in text


def test_doubtful_figures_are_told(made):
    page, _ = made([[row(repeated=0.1), row(subject="engine vae_decoder", flops=9e12, n=2)]])
    care = [cells for cells in page.rows if cells[1:2] == ["A: engines-ort (onnxruntime fp32)"] and cells[0] == "M1"]
    said = " / ".join(cells[-1] for cells in care)
    assert "a cache? one repeated input took 100 ms, fresh ones 3.70 s" in said
    assert re.search(r"1,?\d+ % of the ceiling: the ceiling or the counts are wrong", said)
    assert "fewer than 5 repetitions, 2 at the least" in said


def test_predictions_stand_apart(made):
    page, text = made(two_machines(), manifests=[manifest(), manifest(backend="paddle")])
    assert page.source.count("Cards nobody ran: floor, not measured") == 2  # contents and heading
    assert "fp16: floor, not measured" in page.text and "NVIDIA GeForce RTX 4090" in page.text
    assert page.source.count("<h4>fp16: floor, not measured</h4>") == 1  # both backends have one network
    predicted = page.source.partition('<section class="predicted">')[2]
    assert 'fill="url(#floor)"' in predicted and 'fill="url(#floor)"' not in page.source.partition('predicted">')[0]
    assert "floor, not measured" in text
    assert (
        "no" in page.row("NVIDIA GeForce RTX 4080", "fp16")[8:]
        or page.row("NVIDIA GeForce RTX 4080", "fp16")[8] == "fits"
    )
    without, text = made(two_machines())
    assert "floor, not measured" not in without.text.partition("What to run")[2] and "Cards nobody" not in text


def test_the_floor_of_the_loss_gradient_is_predicted_where_a_set_refines(made):
    page, _ = made(two_machines(), manifests=[manifest(), refining_manifest()])
    assert page.source.count("<h4>fp16: floor, not measured</h4>") == 1  # one network, with and without refinement
    heads = page.row("card", "precision", "image_encoder")
    assert heads[-1] == "loss_gradient" and "arcface" not in heads
    a100 = next(cells for cells in page.rows if cells[:2] == ["NVIDIA A100 SXM 80GB", "fp32"] and len(cells) == 9)
    assert a100[-1] == units.seconds(8e12 / 19.5e12)
    page, _ = made(two_machines(), manifests=[manifest()])
    assert next(cells for cells in page.rows if cells[:2] == a100[:2] and len(cells) == 9)[-1] == units.NOTHING


def test_what_does_not_fit_is_said(made):
    large = manifest(engines=[engine(role, parameters=10_000_000_000 if role == "unet" else 1) for role in ROLES])
    page, _ = made(two_machines(), manifests=[large])  # 20 GB of weights in fp16, 40 in fp32
    fits = {tuple(cells[:2]): cells[8] for cells in page.rows if len(cells) == 10 and cells[8] in ("fits", "no")}
    assert fits["NVIDIA GeForce RTX 4080", "fp16"] == fits["NVIDIA GeForce RTX 4090", "fp32"] == "no"
    assert fits["NVIDIA GeForce RTX 4090", "fp16"] == fits["NVIDIA L40S", "fp32"] == "fits"


def test_the_floor_stands_beside_the_measurement(made):
    page, _ = made(two_machines())
    cells = page.row("M1", "unet")
    floor = 0.5875e12 / 185e9
    assert cells[2:6] == [units.seconds(floor), "3.60 s", "A: engines-ort (onnxruntime fp32)", units.ratio(3.6 / floor)]
    assert cells[-1] == "yes" and "The prediction held for 48 of 48 engines" in page.text


def test_an_error_that_is_no_number_is_the_worst():
    (host,) = compare([row(relative_error=1e-6), row(subject="engine vae_decoder", relative_error=float("nan"))])
    (setup,) = host.setups
    assert setup.error == float("inf") and setup.within_tolerance is False
    assert units.error(setup.error) == "not finite"


def gradient(**changes):
    """A measured loss gradient: long, large, and with single values far off."""
    known = dict(subject="engine loss_gradient", frames=4, seconds=99.0, load=70.0, peak_memory=20e9)
    return row(**{**known, "relative_error": 3e-3, "cosine": 0.999998, **changes})


def test_the_loss_gradient_is_judged_by_its_direction_and_apart_from_plain_runs(made):
    engines = [r for r in rows_of(machine(), contender(), 1.0, 1e-6, 6e9) if r.subject.startswith("engine")]
    (workload,) = compare([*engines, gradient()])[0].workloads
    (setup,) = workload.setups
    assert setup.error == 1e-6 and setup.within_tolerance and setup.memory == 6e9
    loading = sum(r.load for r in engines)
    assert video_cost(setup, video_of(workload)).parts["loading"] == pytest.approx(loading)
    page, _ = made([[*engines, gradient()]])
    assert page.row("loss_gradient", "A: engines-ort (onnxruntime fp32)")[2:4] == ["99.0 s", "3.0e-03"]
    assert "tolerated" not in page.text.partition("To be read with care")[2].partition("How to read this")[0]
    page, _ = made([[*engines, gradient(cosine=0.99)]])
    said = "cosine 0.990000 to the float32 network's gradient, less than the 0.9999 tolerated"
    assert page.row("M1", "A: engines-ort (onnxruntime fp32)", "engine loss_gradient")[3] == said


def test_a_set_up_is_not_chosen_by_its_loss_gradient_while_there_is_another_engine():
    (workload,) = compare([row(), gradient()])[0].workloads
    assert speed(workload).name == "one engine unet"
    (workload,) = compare([gradient()])[0].workloads
    assert speed(workload).name == "one engine loss_gradient"


def test_half_precision_is_not_held_against_a_single_precision_ceiling(made):
    half = row(contender=contender(precision="fp16"))
    assert half.floor is half.fraction is None
    on_gpu = row(contender=half.contender, machine=card(half_gemm_flops=100e12, copy_bytes=1e15), flops=2e14)
    assert on_gpu.floor == pytest.approx(2.0)
    page, _ = made([[half]])
    assert "Fraction of this machine" not in page.text


def test_a_ratio_across_runs_is_flagged(made):
    """The peer was measured when the machine's matrix product was half as fast."""
    slow = machine(gemm_flops=machine().gemm_flops / 2)
    peer = contender(kind="peer", name="diffusers:eager", backend="torch eager", digest="", bytes=None)
    together, _ = made([[row(), row(contender=peer)]])
    assert "another run" not in together.text
    apart, _ = made([[row(), row(machine=slow, contender=peer)]])
    said = "its ratio is to B: diffusers:eager (fp32) of another run; between the two, this machine's matrix product"
    assert apart.row("M1", "A: engines-ort (onnxruntime fp32)", "engine unet")[3].startswith(said)


def test_the_same_row_counts_once(tmp_path, made):
    first, second = two_machines()
    alone, _ = made([first, second])
    twice, _ = made([first, second, first, [*second, *second]])
    assert alone.source == twice.source
    assert len(without_duplicates([row(), row(), row(n=8)])) == 2


def test_the_newer_of_two_measurements_counts(made):
    old = row(seconds=9.0, measured="2026-11-20T10:00:00+0100")
    new = row(seconds=3.0, measured="2026-11-21T10:00:00")
    for files in ([[old, new]], [[new], [old]]):
        page, _ = made(files)
        assert page.row("unet", "A: engines-ort (onnxruntime fp32)")[2] == "3.00 s"
        assert "measured 2026-11-20 to 2026-11-21" in page.text
    assert comparison.measured_at(row(measured="yesterday")).year == 1


def test_conflicting_schema_versions_and_damage_are_refused(tmp_path):
    good, bad = write(tmp_path, [[row()], [row()]])
    bad.write_text(bad.read_text().replace('"schema_version":2', '"schema_version":1'))
    for text, said in (
        (bad.read_text(), f"{bad}, line 1: schema version 1, this sa-bench reads 2; merge it with the sa-bench"),
        ("{", f"{bad}, line 1 is no JSON"),
        ("", None),
    ):
        bad.write_text(text)
        if said is None:
            merge([good, bad], tmp_path / "out")  # an empty file beside others is no harm
            continue
        with pytest.raises(InputError, match=re.escape(said)):
            merge([good, bad], tmp_path / "out")
        assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no rows in there"):
        merge([bad], tmp_path / "none")


def test_a_failure_leaves_an_earlier_report_as_it_was(tmp_path, monkeypatch):
    out = tmp_path / "report"
    (path,) = write(tmp_path, [[row()]])
    merge([path], out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    monkeypatch.setattr("sa.benchmarks.report.merge.FILES", ("report.html", "no/such/folder"))
    results.append(path, [row(seconds=1.0)])
    with pytest.raises(FileNotFoundError):
        merge([path], out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    with pytest.raises(InputError, match="is a file: give --out a folder"):
        merge([path], path)


def test_the_number_of_rows_is_bounded(tmp_path, monkeypatch):
    paths = write(tmp_path, [[row(), row(n=1)], [row(n=2)]])
    monkeypatch.setattr(results, "ROW_LIMIT", 2)
    with pytest.raises(InputError, match="3 rows together, more than 2"):
        merge(paths, tmp_path / "out")
    monkeypatch.setattr(results, "ROW_LIMIT", 3)
    others = [row(contender=contender(name="another")), row(subject="engine other")]
    for name, limit in (("set-ups", "SETUPS"), ("subjects", "SUBJECTS")):
        with monkeypatch.context() as patch:
            patch.setattr(f"sa.benchmarks.report.merge.{limit}", 1)
            with pytest.raises(InputError, match=f"2 {name} together, more than 1: merge fewer"):
                merge(write(tmp_path / "more", [others]), tmp_path / "out")
        for path in (tmp_path / "more").iterdir():
            path.unlink()
    assert not (tmp_path / "out").exists()


def test_long_files_make_short_pages(made, monkeypatch):
    monkeypatch.setattr(parts, "SHOWN_ROWS", 20)
    many = [row(contender=contender(name=f"set {i}", digest=f"{i:064}"), seconds=1 + i) for i in range(200)]
    page, text = made([many])
    assert "180 more rows are not shown." in page.text and "180 more rows are not shown." in text
    assert len(page.rows) < 150 and len(page.source) < 1_000_000


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_stays_text(made, hostile):
    place = machine(device=hostile, cpu=hostile, driver=hostile, system=hostile, libraries={hostile: hostile})
    gpu = card(device=hostile, compute_capability=hostile, driver=hostile, cpu=hostile)
    who = dict(
        name=hostile, backend=hostile, backend_version=hostile, precision=hostile, digest=hostile, preset=hostile
    )
    rows = []
    for where in (place, gpu):
        for one in (contender(**who), contender(**{**who, "digest": "other"}), peer(**{**who, "digest": ""})):
            known = dict(machine=where, contender=one, project_version=hostile, measured=hostile, compared=hostile)
            rows += [
                row(**known, subject=subject)
                for subject in (hostile, "engine unet", f"engine {hostile}", f"stage {hostile}")
            ]
            rows.append(failed(hostile, **{**known, "subject": f"engine x{hostile}", "compared": hostile}))
    page, text = made([rows])
    harmless, _ = made([[row()], [row(machine=card())]])
    assert page.tags <= harmless.tags | {"circle"}
    assert {name for name, _ in page.attributes} <= {name for name, _ in harmless.attributes} | {
        "class",
        "cx",
        "cy",
        "r",
    }
    assert units.clean(hostile) in page.text
    assert "\u202e" not in page.source + text and "\x1b" not in page.source + text
    assert not re.search(r"<(?!!--)[a-z/]", text) and "http://" not in text and not re.search(r"(?<!\\)\]\(", text)
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
    assert min(columns) >= 3


def test_markdown_shows_what_was_written():
    assert plain("a|b *c* <d> [e](f)") == r"a\|b \*c\* &lt;d&gt; \[e\](f)"


def test_extreme_numbers_do_not_break_the_report(made):
    rows = [
        row(subject="engine unet", seconds=1e-300, flops=1e21, bytes=1e21),
        row(subject="engine vae_decoder", seconds=1e7 / 1.3, relative_error=float("inf"), cosine=float("nan")),
        row(subject="engine pose_net", seconds=0.0, flops=0.0, bytes=0.0, repeated=0.0, peak_memory=0.0),
        row(subject="engine face_encoder", frames=1 << 20, steps=-(10**400), guidance=float("-inf")),
        row(contender=peer(), seconds=1e-300),
        row(contender=peer(), subject="stage denoising step", frames=0, seconds=0.0),
        row(contender=contender(name="b"), machine=machine(gemm_flops=1e-9, copy_bytes=1e-9, memory=0.0)),
        row(contender=contender(name="c"), p20=None, p50=None, p90=None, n=0),
    ]
    page, _ = made([rows])
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+", "", page.source.lower()) and "inf%" not in page.source


def test_a_set_that_could_not_be_opened_is_a_failure(made):
    unopened = failed("engines/ holds no manifest.json", subject="engine set", flops=None, bytes=None)
    page, _ = made([[row(), unopened.model_copy(update={"contender": contender(name="broken", digest="")})]])
    assert page.row("M1", "A: broken (onnxruntime fp32)", "engine set")[3] == "engines/ holds no manifest.json"
