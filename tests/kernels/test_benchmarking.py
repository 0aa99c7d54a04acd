"""The benchmarks' CSV file, and their messages where they cannot run."""

import csv
from dataclasses import replace

import pytest
import torch

from sa.kernels.benchmarking import COLUMNS, Case, append, disagrees, row, run

CASE = Case("2x3", torch.float16, 12, 6, {"triton": lambda: torch.ones(2, 3), "pytorch": lambda: torch.ones(2, 3)})


def test_rows_are_appended_below_one_header(tmp_path):
    path = tmp_path / "rows.csv"
    for seconds in ([1e-6, 2e-6, 3e-6], [2e-6, 4e-6, 5e-6]):
        append(path, row("scale", CASE, "triton", seconds))
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert tuple(first) == COLUMNS
    assert (first["p20_seconds"], first["p50_seconds"], first["p80_seconds"]) == ("1e-06", "2e-06", "3e-06")
    assert (float(first["bytes_per_second"]), float(second["flop_per_second"])) == (6e6, 1.5e6)
    assert first["dtype"] == "float16" and first["torch"] == torch.__version__


@pytest.mark.parametrize("wrong", [1.02, torch.nan])
def test_a_wrong_result_is_told(wrong):
    wronged = replace(CASE, contenders={**CASE.contenders, "triton": lambda: torch.full((2, 3), wrong)})
    assert disagrees(CASE) == ""
    assert "triton's result differs from PyTorch's by" in disagrees(wronged)


def test_without_a_gpu(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run("scale", lambda: [CASE], ["--csv", str(tmp_path / "rows.csv")]) == 1
    assert capsys.readouterr().err == (
        f"python -m sa.kernels.scale.benchmark: needs a CUDA GPU, and PyTorch {torch.__version__} finds none.\n"
    )
    assert not list(tmp_path.iterdir())
