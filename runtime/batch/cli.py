"""sa-batch: animate many cases on one engine set, on one or more devices."""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sa.runtime.batch.capacity import require_room, stay_loaded, worker_bytes
from sa.runtime.batch.cases import find_jobs
from sa.runtime.batch.job import Job
from sa.runtime.batch.jobs import Jobs
from sa.runtime.batch.processes import WorkerProcess
from sa.runtime.batch.progress import Progress
from sa.runtime.batch.ray_cluster import RayWorker, cluster, ray_workers
from sa.runtime.batch.scheduler import Worker, run_jobs
from sa.runtime.batch.summary import batch_report, show, write_report
from sa.runtime.batch.work import LOCKS
from sa.runtime.batch.worker import WorkerConfig
from sa.runtime.cli import add_machine, add_settings, add_video, devices_from, require
from sa.runtime.console.commands import run_command
from sa.runtime.console.device import chosen_device
from sa.runtime.console.progress import Reporter
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import InputError, InterruptedRunError, UserError
from sa.runtime.system.processors import usable_cores

DESCRIPTION = """\
Animate many cases on one engine set. Every case gets a folder in --out, as sa-run would write it.

--cases is a folder whose folders case-* are the cases, or a list. A list has a line of JSON for each case:
  {"case": "dance/case-1", "name": "first", "steps": 15, "refine": true}
case is relative to the list. name is the folder in --out (default: the case's own). Further entries are flags of sa-run
with _ for -, and replace those of the command line.
"""

EPILOG = """\
What is done is skipped: a folder whose run.json was made from the same case, engine set and settings.
A worker that ends is replaced, and its case goes on after its last step. A case that cannot be used is a sentence in
the summary and in batch.json; the others are made.

examples:
  sa-batch --engines engines/ --cases inference/ --out results/ --workers 2
  sa-batch --engines engines/ --cases cases.jsonl --out results/ --devices 0,1,2,3 --price 2.5
  sa-batch --engines engines/ --cases cases.jsonl --out results/ --ray 10.0.0.1:6379

exit codes: 0 all cases are done, 1 a case failed, 2 a flag or the list cannot be used, 3 the engine set is missing or
does not fit, 130 interrupted
"""

MOST_WORKERS = 256


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sa-batch", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    files = parser.add_argument_group("files")
    files.add_argument("--engines", type=Path, required=True, metavar="DIR", help="engine set written by sa-export")
    files.add_argument("--cases", type=Path, required=True, metavar="DIR|LIST.jsonl", help="what is animated")
    files.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go, a folder each")
    files.add_argument("--force", action="store_true", help="make again what is done")
    workers = parser.add_argument_group("workers", "processes that keep their engines loaded from case to case")
    workers.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="so many on the CPU, which share the threads (default: 1; with --ray, one for each GPU or node)",
    )
    workers.add_argument("--devices", metavar="0,1,...", help="one on each of these GPUs of this machine")
    workers.add_argument(
        "--split-tiles",
        action="store_true",
        help="make one case at a time, and spread the tiles of its steps over the workers: for few and long videos",
    )
    workers.add_argument(
        "--ray",
        metavar="ADDRESS|auto",
        help="on the nodes of a Ray cluster, which see --engines, --cases and --out at the same paths; auto: that of "
        "this machine, begun now if there is none; needs the extra 'ray'",
    )
    workers.add_argument(
        "--node-engines",
        type=Path,
        metavar="DIR",
        help="with --ray: copy the engine set once to this folder of every node's own disk, and check its hashes there",
    )
    workers.add_argument(
        "--retries",
        type=int,
        default=1,
        metavar="N",
        help="how often a case is tried again after its worker ended (default: 1)",
    )
    workers.add_argument(
        "--price", type=float, default=0.0, metavar="PER_HOUR", help="of one worker: for the cost of a video second"
    )
    add_settings(parser, files)
    output = parser.add_argument_group("output and machine")
    add_video(output)
    add_machine(output)
    output.add_argument("--quiet", action="store_true", help="no progress, no summary: errors only")
    return parser


def local_workers(arguments: argparse.Namespace, engines: EngineSet, jobs: list[Job]) -> list[Worker]:
    """One for each device, or several on the CPU. Threads are divided among them."""
    devices = devices_from(arguments.devices)
    count = arguments.workers or 1 if devices is None else len(devices)
    if not arguments.split_tiles:
        count = min(count, len(jobs))
    if devices is None and engines.device != "cpu" and count > 1:
        raise InputError(f"{engines.folder} runs on GPUs here: give --devices with their numbers, not --workers.")
    if arguments.split_tiles:
        config = _config(engines, arguments.threads or usable_cores(), None, count)
        return [WorkerProcess(f"{count} tile workers", config, devices)]
    if engines.device == "cpu":
        require_room(engines, jobs, count)
    threads = max(1, (arguments.threads or usable_cores()) // count)
    config = _config(engines, threads, stay_loaded(engines, count))
    if devices is not None:
        return [WorkerProcess(f"gpu-{number}", config, [number]) for number in devices[:count]]
    return [WorkerProcess(f"worker-{number}", config) for number in range(1, count + 1)]


def cluster_workers(ray: Any, arguments: argparse.Namespace, engines: EngineSet, jobs: list[Job]) -> list[RayWorker]:
    """Actors, each with a GPU if the engines run on one."""
    config, on_gpu = _config(engines, 1, None), engines.device != "cpu"
    memory = 0 if on_gpu else worker_bytes(engines, jobs)
    return ray_workers(ray, config, arguments.workers, arguments.threads, on_gpu, memory, arguments.node_engines)


def _config(engines: EngineSet, threads: int, keep: bool | None, tile_workers: int = 1) -> WorkerConfig:
    return WorkerConfig(
        engines.folder.absolute(), engines.digest, engines.device, threads, engines.low_memory, keep, tile_workers
    )


def run(arguments: argparse.Namespace) -> None:
    a = arguments
    require(a.workers is None or 1 <= a.workers <= MOST_WORKERS, "--workers", f"1 to {MOST_WORKERS}", a.workers)
    require(0 <= a.retries <= 100, "--retries", "0 to 100", a.retries)
    require(math.isfinite(a.price) and a.price >= 0, "--price", "0 or more", a.price)
    devices_from(a.devices)
    if a.devices is not None and (a.workers is not None or a.ray is not None):
        raise InputError(f"--devices has a worker for each: leave out {'--ray' if a.ray else '--workers'}.")
    if a.devices is not None and a.device == "cpu":
        raise InputError("--devices are GPUs: leave out --device cpu, or give --workers for the CPU.")
    if a.device_id is not None and (a.devices is not None or a.ray is not None):
        raise InputError(f"--device-id is the one GPU of this machine: leave out {'--ray' if a.ray else '--devices'}.")
    if a.split_tiles and a.ray is not None:
        raise InputError("--split-tiles is for the devices of one machine: leave out --ray.")
    if a.node_engines is not None and a.ray is None:
        raise InputError("--node-engines is for the nodes of a cluster: give it with --ray.")
    jobs = find_jobs(a.cases, a.out, a)
    reporter = Reporter(a.quiet)
    with reporter.stage("checking engine set"):
        engines = EngineSet.open(
            a.engines,
            verify=a.verify,
            digest=a.engines_digest,
            device="cuda" if a.devices is not None else chosen_device(a),
            threads=a.threads,
            low_memory=a.low_memory,
        )
    if a.ray is None:
        _make(a, jobs, engines, local_workers(a, engines, jobs), reporter)
    else:
        with cluster(a.ray) as ray:
            _make(a, jobs, engines, cluster_workers(ray, a, engines, jobs), reporter)


def _make(
    arguments: argparse.Namespace, jobs: list[Job], engines: EngineSet, workers: Sequence[Worker], reporter: Reporter
) -> None:
    """Do the jobs, and say what became of them; UserError if one failed."""
    out, started = arguments.out, time.perf_counter()
    work = Jobs(jobs, arguments.retries)
    try:
        (out / LOCKS).mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{out} is a file: give --out a folder.") from None
    interrupted = False
    try:
        run_jobs(work, workers, Progress(reporter, work.entries))
    except KeyboardInterrupt:
        interrupted = True
    seconds, names = time.perf_counter() - started, [worker.name for worker in workers]
    report = batch_report(engines, work.entries, names, seconds, arguments.price)
    write_report(report, out)
    if interrupted:
        made = sum(case["state"] in ("done", "skipped") for case in report["cases"])
        raise InterruptedRunError(f"interrupted; {made} of {len(jobs)} cases are done, and the same command goes on.")
    show(report, out, reporter)
    failed = [case for case in report["cases"] if case["state"] == "failed"]
    if failed:
        first = failed[0]
        raise UserError(f"{len(failed)} of {len(jobs)} cases failed, first {first['name']}: {first['reason']}")


def main(argv: list[str] | None = None) -> int:
    return run_command("sa-batch", parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
