"""On which versions of Python and on which systems each extra can be installed: the table in docs/installation.md.

Run by `make versions`. uv resolves every combination from what is published, wheels alone; nothing is installed.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "installation.md"
BEGIN, END = "<!-- versions: made by `make versions` -->\n", "<!-- versions end -->\n"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")  # of pyproject.toml's requires-python
SYSTEMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_35",  # the oldest that OpenVINO has wheels for
    "Windows": "x86_64-pc-windows-msvc",
    "macOS 15 arm64": "aarch64-apple-darwin",
}
EXTRAS = ("", "cpu", "openvino", "paddle", "cuda", "export", "prepare", "bench")


def resolves(uv: str, extra: str, python: str, system: str) -> bool:
    """Whether there are wheels for all that the project needs with this extra."""
    words = [uv, "pip", "compile", "pyproject.toml", "--quiet", "--only-binary", ":all:"]
    words += ["--python-version", python, "--python-platform", SYSTEMS[system], *(["--extra", extra] if extra else [])]
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "15.0"}
    return subprocess.run(words, capture_output=True, cwd=ROOT, env=environment).returncode == 0


def table(uv: str) -> str:
    lines = [f"| | {' | '.join(PYTHONS)} |", "| --- |" + " --- |" * len(PYTHONS)]
    for system in SYSTEMS:
        for extra in EXTRAS:
            cells = ["yes" if resolves(uv, extra, python, system) else "no" for python in PYTHONS]
            name = f"`[{extra}]`" if extra else "without extras"
            lines.append(f"| {system}, {name} | {' | '.join(cells)} |")
            print(lines[-1], file=sys.stderr)
    return "\n".join(lines) + "\n"


def main() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(sys.argv[1])}\n{END}{after}")


if __name__ == "__main__":
    main()
