"""Ctrl-C and SIGTERM while something runs that must not be cut short, or that handles them its own way."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from sa.runtime.output.staging import staged
from sa.runtime.system import signals

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers_are_put_back():
    """Begins with Python's own handlers: tests started in the background may have been told to ignore Ctrl-C."""
    usual = [signal.default_int_handler, signal.SIG_DFL]
    before = [signal.signal(number, handler) for number, handler in zip(BOTH, usual, strict=True)]
    yield
    after = [signal.signal(number, handler) for number, handler in zip(BOTH, before, strict=True)]
    assert after == usual


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", BOTH)
def test_a_deferred_interrupt_comes_at_the_end(number):
    done = []
    with pytest.raises(KeyboardInterrupt), signals.deferred():
        send(number)
        done.append("the work")
    assert done == ["the work"]


def test_without_a_signal_nothing_is_deferred():
    with signals.deferred():
        pass


@pytest.mark.parametrize("number", BOTH)
def test_an_error_amid_deferred_work_is_told_rather_than_the_interrupt(number):
    with pytest.raises(ZeroDivisionError), signals.deferred():
        send(number)
        raise ZeroDivisionError


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_during_the_last_step_has_no_effect(number):
    with signals.ignored():
        send(number)


@pytest.mark.parametrize("number", BOTH)
def test_an_interrupt_that_a_library_made_another_error_is_one_again(tmp_path, number):
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "out"):
        try:
            send(number)
        except KeyboardInterrupt:
            raise SystemError("a call returned a result with an exception set") from None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_ignored_from_the_start_stays_ignored(tmp_path, number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with staged(tmp_path / "out"), signals.deferred():
            send(number)
    finally:
        signal.signal(number, before)


def test_a_thread_leaves_the_signals_to_the_program_around_it(tmp_path):
    seen = []

    def work():
        with staged(tmp_path / "out") as folder, signals.deferred(), signals.ignored():
            seen.extend([folder.is_dir(), *(signal.getsignal(number) for number in BOTH)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True, *(signal.getsignal(number) for number in BOTH)]


IMPORT = """
import os, signal
signal.signal(signal.SIGTERM, lambda number, frame: print("cleaned up"))
import sa.runtime.backends.paddle
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_paddle_does_not_keep_the_signal_for_itself():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "cleaned up\n")
