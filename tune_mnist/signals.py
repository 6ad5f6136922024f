"""Ctrl-C and SIGTERM: once to stop with what is saved, twice to stop at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

STOPPED_AT_ONCE = 130
_stopping = threading.Event()


@contextlib.contextmanager
def stops_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block on the first SIGINT or SIGTERM, and end the process on the second.

    Does nothing outside the main thread, which alone gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _stopping.clear()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, _stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def check_stopping() -> None:
    """Raise KeyboardInterrupt if a signal came: for one whose exception was lost, as in a destructor."""
    if _stopping.is_set():
        raise KeyboardInterrupt


def _stop(number: int, frame: Any) -> None:
    if _stopping.is_set():
        os.write(2, b"stopped at once; the same command goes on from the last finished epochs\n")
        os._exit(STOPPED_AT_ONCE)
    _stopping.set()
    raise KeyboardInterrupt
