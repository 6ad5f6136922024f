"""Python's garbage collector, seldom at work: nearly all that torch, Ray and Tune make stays, and is walked in vain."""

from __future__ import annotations

import gc

NEW_OBJECTS = 100_000


def collect_seldom() -> None:
    """Collect when there are 100,000 new objects, not 700: this takes a quarter off the time that imports take."""
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
