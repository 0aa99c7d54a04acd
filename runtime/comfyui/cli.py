"""sa-comfyui: puts the node pack into ComfyUI."""

import argparse
from pathlib import Path

from sa.runtime.comfyui.install import install, remove
from sa.runtime.console.commands import run_command

DESCRIPTION = """\
Nodes for ComfyUI: load engines, make or load a case, animate it, refine its faces (docs/comfyui.md).
"""

EPILOG = """\
Run it with the Python that ComfyUI runs with: the nodes are a link into this package.

examples:
  sa-comfyui install ComfyUI/
  sa-comfyui install ComfyUI/ --remove

exit codes: 0 done, 2 the folder cannot be used, 1 anything else
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sa-comfyui", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    into = commands.add_parser("install", help="put the nodes into a ComfyUI folder, or take them away")
    into.add_argument("comfyui", type=Path, metavar="COMFYUI_DIR", help="the folder that ComfyUI's main.py is in")
    into.add_argument("--remove", action="store_true", help="take the nodes away; engine sets stay")
    into.set_defaults(run=run_install)
    return parser


def run_install(arguments: argparse.Namespace) -> None:
    done = (remove if arguments.remove else install)(arguments.comfyui)
    print(done)


def main(argv: list[str] | None = None) -> int:
    return run_command("sa-comfyui", parser(), lambda arguments: arguments.run(arguments), argv)


if __name__ == "__main__":
    raise SystemExit(main())
