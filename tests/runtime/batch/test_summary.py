"""batch.json and the table."""

import json
from types import SimpleNamespace

import pytest

from sa.runtime.batch.job import Job, Outcome
from sa.runtime.batch.jobs import Jobs
from sa.runtime.batch.summary import BATCH_FILE, batch_report, show, write_report
from sa.runtime.console.progress import Reporter
from sa.runtime.pipeline.settings import Settings


@pytest.fixture
def entries(tmp_path):
    jobs = Jobs([Job(name, tmp_path / name, tmp_path / name, Settings()) for name in ("a", "b", "c", "d")], 0)
    for entry, outcome in zip(
        jobs.entries,
        (
            Outcome("done", seconds=36.0, frames=16, fps=8.0, resumed_after_step=3),
            Outcome("skipped", seconds=72.0, frames=8, fps=8.0, resumed_after_step=0),
            Outcome("failed", "it is broken.", seconds=1.0),
        ),
        strict=False,
    ):
        jobs.ended(entry, outcome)
    return jobs.entries


def test_costs_are_of_worker_hours_and_video_seconds(entries, tmp_path, capsys):
    engines = SimpleNamespace(folder=tmp_path, digest="d" * 64)
    report = batch_report(engines, entries, ["w1"], 40.0, 10.0)
    first, second, third, fourth = report["cases"]
    assert first["cost"] == pytest.approx(0.1) and first["cost_per_video_second"] == pytest.approx(0.05)
    assert second["state"] == "skipped" and report["cost_per_video_second"] == pytest.approx(0.05)  # of what was made
    assert (third["state"], third["reason"], third["cost"]) == ("failed", "it is broken.", None)
    assert (fourth["state"], fourth["seconds"], first["resumed_after_step"]) == ("unfinished", None, 3)
    write_report(report, tmp_path)
    assert json.loads((tmp_path / BATCH_FILE).read_text()) == report
    assert [path.name for path in tmp_path.iterdir()] == [BATCH_FILE]
    show(report, tmp_path, Reporter())
    said = capsys.readouterr().err
    assert "c: it is broken." in said and "2.25" in said and "0.05" in said


def test_without_a_price_there_is_no_cost(entries, tmp_path, capsys):
    report = batch_report(SimpleNamespace(folder=tmp_path, digest="d"), entries, ["w1"], 40.0, 0.0)
    assert report["cost_per_video_second"] is None and report["price_per_worker_hour"] is None
    show(report, tmp_path, Reporter())
    assert "cost" not in capsys.readouterr().err
