"""rows.csv: every row with all it knows, in the same columns, and nothing in it that a spreadsheet would compute."""

import csv
import io

import pytest
from sample_rows import card, contender, failed, machine, row, two_machines, write

from sa.benchmarks.measure.results import Contender, Row
from sa.benchmarks.report.merge import merge
from sa.benchmarks.report.rows_csv import rows_csv


def parsed(rows):
    return list(csv.DictReader(io.StringIO(rows_csv(rows)), strict=True))


def test_a_row_is_a_line_with_its_parts_side_by_side():
    measured = row(machine=machine(gemm_flops=100e9, copy_bytes=10e9), flops=200e9, bytes=50e9, seconds=10.0)
    (line,) = parsed([measured])
    assert line["subject"] == "engine unet" and float(line["p50"]) == 10 and line["n"] == "9"
    assert line["machine.device"] == "Intel(R) Xeon(R) Processor" and line["contender.backend"] == "onnxruntime"
    assert (line["contender.shapes.width"], line["contender.shapes.decode_chunk"]) == ("256", "4")
    assert line["machine.libraries"] == "numpy 2.3.1 onnxruntime 1.31.1"
    assert [float(line[name]) for name in ("flops_per_second", "floor", "fraction")] == [20e9, 5.0, 0.5]
    assert line["failure"] == "" and line["steps"] == ""


def test_every_row_has_every_column_whatever_it_knows():
    half = row(contender=contender(precision="fp16"))
    unopened = failed("no manifest", contender=contender(shapes=None, bytes=None), subject="engine set")
    odd = row(machine=machine(libraries={"=libm": "1", "another": "2"}))
    lines = parsed([row(machine=card()), half, unopened, odd])
    names = {name for name in Row.model_fields if name not in ("machine", "contender", "quality")}
    names |= {f"contender.{name}" for name in Contender.model_fields if name != "shapes"}
    assert all(names < line.keys() and None not in line.values() for line in lines)
    assert lines[1]["floor"] == lines[1]["fraction"] == ""  # its precision's ceiling was not measured
    assert lines[2]["contender.shapes.height"] == "" and lines[2]["failure"] == "no manifest"
    assert "libm" not in " ".join(lines[3].keys())


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "  '=1"),
        ("＝1", "'＝1"),
        ("\t=1", "\\t=1"),
        ("a;=cmd|' /C calc'!A0", "a;'=cmd|' /C calc'!A0"),
        ('a",=1', "a\",'=1"),
        ("a\r\n=1", "a\\r\\n=1"),
        ("x = 1 - 2, by a@b", "x = 1 - 2, by a@b"),
    ],
)
def test_foreign_text_is_no_formula(text, cell):
    (line,) = parsed([row(subject=text, contender=contender(name=text), machine=machine(libraries={text: "1"}))])
    assert line["subject"] == line["contender.name"] == cell
    assert line["machine.libraries"] == f"{cell} 1"


def test_numbers_below_zero_stay_numbers():
    (line,) = parsed([row(cosine=-0.5)])
    assert line["cosine"] == "-0.5"


def test_merge_writes_each_row_once_however_many_files_hold_it(tmp_path):
    files = two_machines()
    merge(write(tmp_path, [*files, files[0]]), tmp_path / "report")
    lines = list(csv.DictReader((tmp_path / "report" / "rows.csv").read_text().splitlines()))
    assert len(lines) == len(files[0]) + len(files[1])
    assert {line["machine.kind"] for line in lines} == {"cpu", "cuda"}
