"""puppet-train on a machine that has PyTorch, NumPy, Pillow, OpenCV and safetensors, and not what sa-bench needs."""

import argparse
import sys

from sa.benchmarks.puppet.command import add_puppet_train
from sa.runtime.errors import UserError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m sa.benchmarks.puppet")
    add_puppet_train(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["puppet-train", *sys.argv[1:]])
    try:
        arguments.action(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
