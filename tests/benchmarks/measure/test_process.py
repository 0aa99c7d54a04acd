"""Workers of sa-bench run: how one ends, and what it says then."""

import pytest

from sa.benchmarks.measure.process import WorkerError, run_worker


def test_a_worker_that_dies_is_a_row_with_its_last_words(tmp_path):
    job = {"engines": str(tmp_path / "gone"), "peer": None, "subject": "unet"}
    with pytest.raises(WorkerError, match=r"^exit code 1: .*gone is not a folder: give --engines"):
        run_worker(job)


def test_a_worker_beyond_its_memory_limit_fails_and_says_so(engines):
    folder = str(engines("recipe_hjb", "onnxruntime"))
    job = {"engines": folder, "peer": None, "subject": "unet", "repetitions": 1, "threads": 1, "outputs": None}
    run_worker({**job, "memory_limit": 4 << 30})
    with pytest.raises(WorkerError, match=r"within the memory limit of 0.03125 GiB"):
        run_worker({**job, "memory_limit": 1 << 25})
