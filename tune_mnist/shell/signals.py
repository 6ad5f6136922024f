"""Ctrl-C and SIGTERM: once to stop with what is saved, twice to stop at once."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

STOPPED_AT_ONCE = 130
AGAIN_SECONDS = 1.0
QUIET_SECONDS = 0.05
"""How long a stop may take without a word."""
STOPPING = b"stopping: every finished epoch is kept; once more stops at once\n"
_stopping = threading.Event()
_first_raise_seconds = 0.0


@contextlib.contextmanager
def stops_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block on the first SIGINT or SIGTERM, and end the process on the second.

    Python drops an exception raised in a destructor or while a module is imported, so it is raised
    again every second until `unwinding` is called or the block is left. Does nothing outside the
    main thread, which alone gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _stopping.clear()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.signal(number, _stop) for number in numbers]
    try:
        with _acknowledged():
            yield
    finally:
        unwinding()
        if not _stopping.is_set():  # else the process is about to end, and a second signal still means at once
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


@contextlib.contextmanager
def _acknowledged() -> Iterator[None]:
    """Say of the first signal that it was heard, unless the block ends at once: what ends in it may take seconds.

    A thread says so, as the main thread may be deep in a library when the signal comes.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    left, before = threading.Event(), signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def listen() -> None:
        number: int = signal.SIGALRM
        while number not in (0, signal.SIGINT, signal.SIGTERM):
            number = os.read(reader, 1)[0]
        if number and not left.wait(QUIET_SECONDS):
            os.write(2, STOPPING)

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        os.write(writer, b"\0")
        thread.join()
        os.close(writer)
        os.close(reader)


def ending() -> bool:
    """Whether a signal has told this process to end."""
    return _stopping.is_set()


@contextlib.contextmanager
def deferring(seconds: float) -> Iterator[None]:
    """Let an interrupt wait for the end of the block, but no longer than `seconds`."""
    global _first_raise_seconds
    _first_raise_seconds = seconds
    try:
        yield
    except Exception:
        if _stopping.is_set():  # Ctrl-C reaches child processes too, and what fails then fails for want of them
            raise KeyboardInterrupt from None
        raise
    finally:
        _first_raise_seconds = 0.0
    if _stopping.is_set():
        raise KeyboardInterrupt


def reinstate() -> None:
    """Put Python's handling of SIGTERM back where a library has put its own beneath it, unseen by Python."""
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(signal.SIGTERM, handler)


def unwinding() -> None:
    """Leave the rest of the block in peace: the interrupt, if there was one, has been seen."""
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, 0)


@atexit.register
def _keep_status() -> None:
    """Ignore further signals when, after a stop, Python itself ends: it would let them kill, past what was told."""
    if _stopping.is_set():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _stop(number: int, frame: Any) -> None:
    if number != signal.SIGALRM and _stopping.is_set():
        os.write(2, b"stopped at once; the same command without --fresh goes on from the last finished epochs\n")
        os._exit(STOPPED_AT_ONCE)
    _stopping.set()
    wait = _first_raise_seconds if number != signal.SIGALRM else 0.0
    signal.setitimer(signal.ITIMER_REAL, wait or AGAIN_SECONDS)
    if not wait:
        raise KeyboardInterrupt
