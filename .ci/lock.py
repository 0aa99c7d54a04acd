"""Remakes constraints.txt: the newest versions that pyproject.toml's ranges admit, for every set-up of the Makefile.

Run by `make lock` with the oldest Python we support, so that every version in it is to be had for that. Set-ups that
exclude each other (onnxruntime and onnxruntime-gpu) are resolved one after the other, the later by the earlier's
versions, so that the file holds one version of everything.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "constraints.txt"
SETUPS = (
    "bench,cpu,export,openvino,prepare,ray,serve,test,serve-test,peers,kernels,tensorrt-rtx",
    "bench,cuda,export,test",
)
# NVIDIA's libraries, which PyTorch's CUDA build pins to versions of its own.
PINNED_ELSEWHERE = ("nvidia-cu", "nvidia-nv")
BUILD = ("setuptools", "wheel")  # what builds the project itself, which pip would else fetch at its newest
HEAD = """\
# The exact versions that `make install` and its kin install, and that CI tests. Remade by `make lock`.
# Users install by the ranges of pyproject.toml; `pip install -c constraints.txt .` takes these versions instead.
"""


def resolve(requirements: list[str], known: dict[str, str]) -> dict[str, str]:
    """What pip would install: versions by name."""
    with tempfile.TemporaryDirectory() as scratch:
        given, report = Path(scratch) / "constraints.txt", Path(scratch) / "report.json"
        given.write_text("".join(f"{name}=={version}\n" for name, version in known.items()))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        choice = ["--dry-run", "--ignore-installed", "--report", report, "--constraint", given]
        subprocess.run([*pip, *choice, *requirements], check=True, cwd=ROOT)
        found = (entry["metadata"] for entry in json.loads(report.read_text())["install"])
        # A build's local name, as in 2.13.0+cpu, says where it came from, not what it is.
        return {one["name"].lower().replace("_", "-"): one["version"].partition("+")[0] for one in found}


def main() -> None:
    if sys.version_info[:2] != (3, 11):
        raise SystemExit(f"make lock needs Python 3.11, the oldest that is supported, not {sys.version.split()[0]}.")
    versions = resolve(list(BUILD), {})
    for extras in SETUPS:
        print(f"resolving {extras}", file=sys.stderr)
        versions |= resolve([f".[{extras}]"], versions)
    del versions["stableanimator-deploy"]
    ours = {name: version for name, version in versions.items() if not name.startswith(PINNED_ELSEWHERE)}
    LOCK.write_text(HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(ours.items())))


if __name__ == "__main__":
    main()
