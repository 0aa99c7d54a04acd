"""The server's side of the process that looks at uploads."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from dataclasses import asdict

from sa.runtime.serve.upload.check import Question

COMMAND = (sys.executable, "-m", "sa.runtime.serve.upload.check")


class Inspector:
    """One process that answers one question at a time. It is started anew if it ends or takes too long."""

    def __init__(self, seconds: float):
        """`seconds`: for one answer."""
        self._seconds = seconds
        self._turn = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def refusal(self, question: Question) -> tuple[str, str] | None:
        """The field that is at fault and a sentence. None: the upload can be worked on."""
        with self._turn:
            process = self._running()
            answers: queue.Queue[str] = queue.Queue()
            try:
                into, out = process.stdin, process.stdout
                assert into is not None and out is not None
                into.write(json.dumps(asdict(question)) + "\n")
                into.flush()
                reader = threading.Thread(target=lambda: answers.put(out.readline()), daemon=True)
                reader.start()
                line = answers.get(timeout=self._seconds)
                if line:
                    found = json.loads(line)
                    return None if found is None else (found[0], found[1])
            except queue.Empty:
                self.close()
                return "the upload", f"the upload took more than {self._seconds:g} s to look at: give a smaller one."
            except OSError:
                pass
            self.close()
            return "the upload", "the upload ended the process that looked at it: it is damaged, or too large."

    def start(self) -> None:
        with self._turn:
            self._running()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            # In a session of its own, where Ctrl-C does not reach it: the server ends it.
            self._process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        return self._process
