"""Ctrl-C and SIGTERM: both unwind the stack, except where that would do damage."""

import contextlib
import signal
from collections.abc import Callable, Iterator

Handler = Callable[[int, object], None] | signal.Handlers


@contextlib.contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Handle both signals with `handler`. A signal that is ignored, as under nohup, stays ignored."""
    try:
        before = {
            number: signal.signal(number, handler)
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) is not signal.SIG_IGN
        }
    except ValueError:  # not the main thread: signals are the calling program's business
        before = {}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def ignored() -> contextlib.AbstractContextManager[None]:
    """Ignore both signals: for a short last step that must not be left half done."""
    return handled(signal.SIG_IGN)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Delay both signals until the block is done: for work that a KeyboardInterrupt would break."""
    received = []
    with handled(lambda number, frame: received.append(number)):
        yield
    if received:
        raise KeyboardInterrupt
