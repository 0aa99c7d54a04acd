"""sa-bench merge: its flags, and how it ends."""

import argparse
import json

import pytest
from sample_manifest import manifest
from sample_rows import two_machines, write

from sa.benchmarks.report.command import add_merge
from sa.runtime.console.commands import run_command


@pytest.fixture
def run(capsys):
    """run(arguments) -> exit code and what was said."""

    def call(*arguments):
        parser = argparse.ArgumentParser("sa-bench")
        add_merge(parser.add_subparsers(required=True))
        words = ["merge", *map(str, arguments)]
        code = run_command("sa-bench", parser, lambda parsed: parsed.action(parsed), words)
        return code, capsys.readouterr().err

    return call


def test_a_report_of_two_files_with_prices_and_predictions(run, tmp_path):
    engines = tmp_path / "engines"
    engines.mkdir()
    (engines / "manifest.json").write_text(manifest().model_dump_json())  # the engines themselves are not needed
    prices = ["--price-per-hour", "H100=2.50", "Intel(R) Xeon(R) Processor=0.08"]
    paths = write(tmp_path, two_machines())
    code, said = run(*paths, "--out", tmp_path / "out", *prices, "--engines", engines)
    assert code == 0 and all(name in said for name in ("report.html", "report.md", "rows.csv"))
    text = (tmp_path / "out" / "report.md").read_text()
    assert "€ 0.00144" in text and "NVIDIA L40S" in text


@pytest.mark.parametrize("price", ["H100", "H100=", "=2", "H100=free", "H100=0", "H100=-1", "H100=nan", "H100=inf"])
def test_a_price_that_is_none_is_refused(run, tmp_path, price):
    code, said = run(*write(tmp_path, two_machines()), "--out", tmp_path / "out", "--price-per-hour", price)
    assert code == 2 and not (tmp_path / "out").exists()
    assert said == (
        "sa-bench: --price-per-hour must be DEVICE=EUR with a price above 0, "
        f"as in H100=2.50, not {price}.\n"
    )  # fmt: skip


def test_what_cannot_be_read_is_named(run, tmp_path):
    code, said = run(tmp_path / "none.jsonl", "--out", tmp_path / "out")
    assert code == 2 and said.startswith(f"sa-bench: {tmp_path / 'none.jsonl'} is missing")
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({"schema_version": 7}))
    code, said = run(path, "--out", tmp_path / "out")
    assert code == 2 and "line 1: schema version 7" in said
    code, said = run(*write(tmp_path, two_machines()), "--out", tmp_path / "out", "--engines", tmp_path)
    assert code == 3 and "holds no manifest.json" in said
    assert not (tmp_path / "out").exists()
