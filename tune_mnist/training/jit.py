"""Functions compiled for the machine they run on, by numba."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba

# No fast math: which products and sums are fused, and in what order they are taken, would depend on the processor.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
ROOM = Path(__file__).parent


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled when it is first called; the code is kept on disk, where that can be, for later runs.

    Arrays are not checked for their bounds, integers do not grow, and the GIL is released.
    """
    with _cache_of_these_sources(), contextlib.suppress(RuntimeError):  # if there is no folder to keep it in
        return numba.njit(cache=True, **OPTIONS)(function)
    return numba.njit(**OPTIONS)(function)


@contextlib.contextmanager
def _cache_of_these_sources() -> Iterator[None]:
    """Let numba keep code in a folder named after all sources that compiled functions call, not their own file's."""
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = before or str(ROOM / "__pycache__" / _digest())  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


def _digest() -> str:
    """Of the whole room's sources: whichever of them a compiled function calls, old code is never taken for new."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(ROOM.rglob("*.py")))).hexdigest()[:16]
