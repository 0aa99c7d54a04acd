"""Result files are foreign input: what is read back, and what is refused in which words."""

import json

import pytest
from sample_rows import failed, machine, row

from sa.benchmarks.measure import results
from sa.benchmarks.measure.results import append, read
from sa.runtime.errors import InputError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, [row(), failed("out of memory")])
    return path


def refused(path) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    return str(error.value)


def test_rows_are_read_back_as_they_were_written(file):
    append(file, [row(subject="engine vae_decoder")])
    assert read(file) == [row(), failed("out of memory"), row(subject="engine vae_decoder")]


def test_rates_and_the_fraction_of_the_floor():
    measured = row(machine=machine(gemm_flops=100e9, copy_bytes=10e9), flops=200e9, bytes=50e9, seconds=10.0)
    assert (measured.flops_per_second, measured.bytes_per_second) == (20e9, 5e9)
    assert measured.floor == 5.0  # 2 s of arithmetic, 5 s of traffic
    assert measured.fraction == 0.5


@pytest.mark.parametrize(("version", "shown"), [(1, "1"), (None, "None"), ("x" * 99, "x" * 20)])
def test_another_schema_version_is_named_with_its_line(file, version, shown):
    line = json.loads(row().model_dump_json()) | {"schema_version": version}
    with file.open("a") as handle:
        handle.write(json.dumps(line) + "\n")
    assert refused(file) == (
        f"{file}, line 3: schema version {shown}, this sa-bench reads 2; "
        "merge it with the sa-bench that wrote it, or measure again."
    )


def test_a_file_without_rows_of_ours_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text('[1, 2]\n')  # fmt: skip
    assert "line 1: schema version None" in refused(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda line: line[: len(line) // 2], "line 2 is no JSON"),
        (lambda line: "\x00\x01", "line 2 is no JSON"),
        (lambda line: "[" * 100_000, "line 2 is no JSON"),
        (lambda line: line.replace('"n":9', '"n":-1'), "line 2: n: "),
        (lambda line: line.replace('"n":9', '"n":"many"'), "line 2: n: "),
        (lambda line: line.replace('"p50":3.7', '"p50":NaN'), "line 2: p50: "),
        (lambda line: line.replace('"p50":3.7', '"p50":1e300'), "line 2: p50: "),
        (lambda line: line.replace('"kind":"cpu"', '"kind":"abacus"'), "line 2: machine.kind: "),
        (lambda line: line.replace('"frames":2', '"frames":2,"extra":1'), "line 2: extra: "),
        (lambda line: line.replace("engine unet", "x" * 501), "line 2: subject: "),
    ],
)
def test_a_damaged_line_is_named_with_its_number(tmp_path, damage, said):
    good = row().model_dump_json()
    bad = damage(good)
    assert bad != good
    path = tmp_path / "damaged.jsonl"
    path.write_text(f"{good}\n{bad}\n{good}\n")
    assert refused(path).startswith(f"{path}, {said}")
    assert refused(path).endswith("the file is damaged.")


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "binary.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    assert refused(path).startswith(f"{path} cannot be read")
    assert refused(tmp_path).startswith(f"{tmp_path} cannot be read")
    assert refused(tmp_path / "none.jsonl").startswith(f"{tmp_path / 'none.jsonl'} is missing")


def test_sizes_are_bounded(file, monkeypatch):
    monkeypatch.setattr(results, "ROW_LIMIT", 1)
    assert "has 2 rows, more than 1" in refused(file)
    monkeypatch.setattr(results, "FILE_LIMIT", 1)
    assert "no result file is that large" in refused(file)
