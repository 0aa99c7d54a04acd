"""paddle2onnx in a process of its own, because a conversion that fails aborts the process it runs in."""

import atexit
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

OPSET = 17  # paddle2onnx 2.1.0 aborts at later ones

# With more than 2 GB of weights, paddle2onnx fails silently. Given the name of a parameter file that does not exist, it
# writes the graph alone, in which weights are undefined tensors with the names of the parameters.
_SERVE = """
import sys
import paddle2onnx
for line in sys.stdin:
    source, result = line.rstrip("\\n").split("\\t")
    paddle2onnx.export(source, source + ".none", save_file=result, opset_version=int(sys.argv[1]),
                       auto_upgrade_opset=False, verbose=False, enable_onnx_checker=False, optimize_tool="None")
    print("\\ndone", flush=True)
"""


class ConversionError(Exception):
    """The converter failed; the message holds the last line it printed."""


class Converter:
    """The process. The first conversion starts it, and so does the one after a failure."""

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._errors = None

    def convert(self, source: Path, result: Path) -> None:
        """Turn a Paddle program (.json) into an ONNX graph without weights; ConversionError if that fails."""
        if self._process is None:
            atexit.register(self.close)
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(OPSET)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**os.environ, "POLYGRAPHY_AUTOINSTALL_DEPS": "0"},
            )
        said = []
        try:
            self._process.stdin.write(f"{source}\t{result}\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                if line == "done\n":
                    break
                said.append(line)
            else:
                raise BrokenPipeError
        except BrokenPipeError:
            status = self._stop()
            raise ConversionError(f"(exit status {status}): {self._last_words(said)}") from None
        except BaseException:
            self._process.kill()
            self._stop()
            raise
        if not result.exists() or not result.stat().st_size:
            raise ConversionError(f"(an empty file): {self._last_words(said)}")

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._stop()

    def _stop(self) -> int:
        process, self._process = self._process, None
        atexit.unregister(self.close)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        return process.wait()

    def _last_words(self, said: list[str]) -> str:
        self._errors.seek(0)
        lines = [*said, *self._errors.read()[-20_000:].decode(errors="replace").splitlines()]
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
