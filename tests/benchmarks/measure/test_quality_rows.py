"""sa-bench's rows of quality: who gets one, what is in it, and what the report makes of it."""

import csv

import pytest
from sample_manifest import manifest
from sample_rows import contender, failed, machine, row, rows_of, write

from sa.benchmarks.cli import main
from sa.benchmarks.measure import bench
from sa.benchmarks.measure import quality_trial as trial
from sa.benchmarks.measure.contenders import Entry
from sa.benchmarks.measure.process import Peak, WorkerError
from sa.benchmarks.measure.results import QUALITY, QualityEstimates, append, read
from sa.benchmarks.report.merge import merge
from sa.runtime.errors import UserError
from sa.runtime.system.hashing import sha256

FIGURES = {
    name: {"mean": float(number), "low": number - 0.25, "high": number + 0.5}
    for number, name in enumerate(QualityEstimates.model_fields)
} | {"seam": None}
NO_TIMES = dict.fromkeys(("p20", "p50", "p90", "first", "repeated", "relative_error", "cosine", "compared"))


def judged(**changes):
    return row(**{**NO_TIMES, "subject": QUALITY, "n": 4, "quality": FIGURES, "flops": None, "bytes": None, **changes})


@pytest.fixture
def puppets(tmp_path, monkeypatch):
    """puppets(**changes): a manifest of an engine set made from the puppet checkpoint, which is a small file here."""
    weights = tmp_path / "checkpoint" / trial.ANIMATING
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    monkeypatch.setattr(trial, "CHECKPOINT", tmp_path / "checkpoint")
    source = {"path": trial.ANIMATING, "bytes": 7, "sha256": sha256(weights)}
    shapes = dict(height=128, width=128, tile_size=8, decode_chunk=4)

    def make(**changes):
        return manifest(**{"sources": [source], "shapes": shapes, **changes})

    return make


def test_only_an_engine_set_of_the_puppet_checkpoint_at_its_size_is_judged(puppets, monkeypatch, tmp_path):
    assert trial.is_puppets(puppets())
    assert not trial.is_puppets(puppets(shapes=dict(height=128, width=256, tile_size=8, decode_chunk=4)))
    other = {"path": trial.ANIMATING, "bytes": 7, "sha256": "0" * 64}
    elsewhere = puppets().sources[0].model_dump() | {"path": "Animation/pose_net.safetensors"}
    assert not trial.is_puppets(puppets(sources=[other]))
    assert not trial.is_puppets(puppets(sources=[elsewhere]))
    made = puppets()
    assert not trial.is_puppets(puppets(sources=[made.sources[0].model_dump(), other | {"path": "SVD/vae/old"}]))
    monkeypatch.setattr(trial, "CHECKPOINT", tmp_path / "none")
    assert not trial.is_puppets(made)


def test_another_engine_set_is_refused_in_a_sentence():
    class Other:
        manifest = manifest()

    with pytest.raises(UserError, match="this one was made from other weights or for another size"):
        trial.measure_quality(Other(), 2)


LINE = {"subject": QUALITY, "frames": 8, "seconds": [], "steps": 15, "guidance": 1.5, "quality": FIGURES}


def test_quality_is_measured_once_on_as_many_puppets_as_asked_for(monkeypatch, engines, tmp_path):
    jobs = []

    def run_worker(job):
        jobs.append(job)
        return [LINE], Peak(resident=1 << 30, device=None)

    monkeypatch.setattr(bench, "run_worker", run_worker)
    monkeypatch.setattr(bench, "describe", lambda *_: machine())
    flags = ["--subjects", QUALITY, "--puppets", 6, "--rounds", 3, "--quiet", "--out", tmp_path / "out"]
    assert main(list(map(str, ["run", "--engines", engines("recipe_hjb", "onnxruntime"), *flags]))) == 0
    (measured,) = read(tmp_path / "out" / "results.jsonl")
    assert [(job["subject"], job["puppets"]) for job in jobs] == [(QUALITY, 6)]
    assert (measured.n, measured.frames, measured.steps, measured.guidance, measured.p50) == (6, 8, 15, 1.5, None)
    assert measured.quality.psnr.mean == 0 and measured.quality.ssim.high == 2.5 and measured.quality.seam is None


def test_a_set_that_cannot_be_judged_is_a_row_that_says_so(monkeypatch, engines, tmp_path):
    def run_worker(job):
        raise WorkerError("exit code 1: no truth")

    monkeypatch.setattr(bench, "run_worker", run_worker)
    monkeypatch.setattr(bench, "describe", lambda *_: machine())
    flags = ["--subjects", QUALITY, "--quiet", "--out", tmp_path / "out"]
    assert main(list(map(str, ["run", "--engines", engines("recipe_hjb", "onnxruntime"), *flags]))) == 0
    (measured,) = read(tmp_path / "out" / "results.jsonl")
    assert (measured.subject, measured.failure, measured.quality) == (QUALITY, "exit code 1: no truth", None)


def test_too_few_puppets_are_refused(tmp_path, capsys):
    flags = ["run", "--engines", str(tmp_path), "--out", str(tmp_path / "out"), "--puppets", "1"]
    assert main(flags) == 2
    assert "--puppets must be 2 to 1000, not 1: an interval needs two." in capsys.readouterr().err


@pytest.mark.parametrize(("found", "wanted"), [(True, ["run", QUALITY]), (False, ["run"])])
def test_it_is_a_usual_subject_where_the_truth_is_known(found, wanted, monkeypatch):
    monkeypatch.setattr(bench, "is_puppets", lambda manifest: found)
    entry = Entry(contender(), {"engines": "engines", "peer": None}, manifest(), "cpu")
    assert bench._usual_subjects([entry])[-len(wanted) :] == wanted
    assert (QUALITY in bench._usual_subjects([entry])) == found


@pytest.fixture
def report(tmp_path):
    def make(rows):
        merge(write(tmp_path, [rows]), tmp_path / "report")
        return (tmp_path / "report" / "report.md").read_text(encoding="utf-8")

    return make


def test_the_report_has_every_figure_with_its_interval(report):
    text = report([*rows_of(machine(), contender(), 1.0, 2e-6, 6e9), judged()])
    (line,) = [line for line in text.splitlines() if line.startswith("| A: engines-ort") and "0.00 \\[-0.25" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "4" and len(cells) == 2 + len(QualityEstimates.model_fields)
    assert cells[2] == "0.00 \\[-0.25, 0.50\\]" and cells[-1] == "–"
    figures = {float(cell.split()[0]) for cell in cells[2:-1]}
    assert figures == set(
        map(float, range(len(QualityEstimates.model_fields) - 1))
    )  # none is left out, none is there twice


def test_quality_takes_no_part_in_times(report):
    timed = rows_of(machine(), contender(), 1.0, 2e-6, 6e9)
    alone, beside = report(timed), report([*timed, judged(peak_memory=9e12)])
    without = [line for line in beside.splitlines() if "held-out puppets" not in line and "0.00 \\[" not in line]
    assert "8.19 TiB" not in beside and "8,382 GiB" not in beside
    for line in alone.splitlines():
        assert line in without or "rows" in line


def test_quality_alone_makes_a_report(report):
    text = report([judged()])
    assert "Quality against the truth, on held-out puppets" in text
    assert "Nothing to propose: nothing was timed" in text
    assert "without a median" not in text


def test_a_failed_measurement_of_quality_is_listed_and_is_no_gap_of_others(report):
    text = report([row(), failed("no truth", subject=QUALITY), row(contender=contender(name="other", digest="1" * 64))])
    assert "| quality | no truth |" in text
    assert "measured for other set-ups" not in text


def test_every_figure_is_a_column_for_spreadsheets(tmp_path):
    append(tmp_path / "results.jsonl", [row(), judged()])
    merge([tmp_path / "results.jsonl"], tmp_path / "report")
    with (tmp_path / "report" / "rows.csv").open(newline="") as file:
        timed, quality = csv.DictReader(file)
    assert timed["quality.psnr.mean"] == "" and float(quality["quality.ssim.high"]) == 2.5
    assert quality["quality.seam.mean"] == ""
    columns = [name for name in quality if name.startswith("quality.")]
    assert len(columns) == 3 * len(QualityEstimates.model_fields)
