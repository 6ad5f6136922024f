"""Whether the heart of a lock's holder beats: alive is what moves, whatever the clocks of hosts and servers say."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
"""How long a beat vouches for the holder: it may have been held up."""
LOOK_SECONDS = 12.5
"""How long to look for a beat where the time of the last one says nothing: two of them, and some more."""


@contextlib.contextmanager
def beating(descriptor: int) -> Iterator[None]:
    """Move the time of the open file every few seconds in the block."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            # The folder may have gone; the run notices that when it writes.
            with contextlib.suppress(OSError):
                os.utime(descriptor)

    thread = threading.Thread(target=beat, name="study-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def vouched_seconds(age_seconds: float) -> float:
    """How long the last beat, so old by this host's clock, still vouches for the holder; 0 if it does not.

    A time outside a minute of now, in the past or the future, says nothing: the holder may be dead, or the clock of its
    host or of the file server another one.
    """
    return STALE_SECONDS - age_seconds if abs(age_seconds) < STALE_SECONDS else 0.0


def seen_to_beat(path: Path) -> bool:
    """Whether a beat is seen within LOOK_SECONDS."""
    first, deadline = _beat_ns(path), time.monotonic() + LOOK_SECONDS
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS / 50)
        if _beat_ns(path) != first:
            return True
    return False


def _beat_ns(path: Path) -> int:
    """When the file was last moved; opened for it, as only then a file server is asked anew."""
    with open(path, "rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns
