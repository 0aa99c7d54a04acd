"""Prints which folder imports which: a line for each folder, with its number of modules. Run by `make map`.

Imports inside functions count too, as they do for lint-imports. `.ci/map.py sa.benchmarks` prints that folder and those
in it alone.
"""

import sys
from collections import defaultdict

import grimp

PACKAGES = ("sa.benchmarks", "sa.configs", "sa.export", "sa.kernels", "sa.runtime")


def folders() -> tuple[dict[str, int], dict[str, set[str]]]:
    """The number of modules of every folder, and the folders it imports."""
    graph = grimp.build_graph(*PACKAGES)
    packages = {module.rpartition(".")[0] for module in graph.modules} | set(PACKAGES)
    sizes: dict[str, int] = defaultdict(int)
    imports: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        here = _folder(module, packages)
        sizes[here] += 1
        imported = {_folder(other, packages) for other in graph.find_modules_directly_imported_by(module)}
        imports[here] |= imported - {here}
    return sizes, imports


def _folder(module: str, packages: set[str]) -> str:
    return module if module in packages else module.rpartition(".")[0]


def main() -> None:
    start = sys.argv[1] if len(sys.argv) > 1 else "sa"
    sizes, imports = folders()
    for folder in sorted(folder for folder in sizes if f"{folder}.".startswith(f"{start}.")):
        modules = "1 module" if sizes[folder] == 1 else f"{sizes[folder]} modules"
        names = ", ".join(name.removeprefix("sa.") for name in sorted(imports[folder])) or "nothing"
        print(f"{folder.removeprefix('sa.')} ({modules}) imports {names}")


if __name__ == "__main__":
    main()
