"""Ctrl-C and SIGTERM: both unwind the stack, except where that would do harm."""

import contextlib
import signal
from collections.abc import Callable, Iterator

Handler = Callable[[int, object], None] | signal.Handlers


@contextlib.contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Another handler for both signals; one that is ignored, as nohup asks, stays so."""
    try:
        before = {
            number: signal.signal(number, handler)
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) is not signal.SIG_IGN
        }
    except ValueError:  # not the main thread: the program around us minds its signals
        before = {}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def ignored() -> contextlib.AbstractContextManager[None]:
    """For a last step that takes no time, half of which would be of no use."""
    return handled(signal.SIG_IGN)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """For work that an exception from outside would break: the interrupt follows when it is done."""
    received = []
    with handled(lambda number, frame: received.append(number)):
        yield
    if received:
        raise KeyboardInterrupt
