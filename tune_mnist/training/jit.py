"""Functions compiled for the machine they run on, by numba."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba

# No fast math: which products and sums are fused, and in what order they are taken, would depend on the processor.
OPTIONS: Any = {"nogil": True, "error_model": "numpy"}
ROOM = Path(__file__).parent


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function compiled when it is first called; the code is kept on disk, where that can be, for later runs.

    Arrays are not checked for their bounds, integers do not grow, and the GIL is released. `options` are numba's.
    """
    with _cache_in(FOLDER), contextlib.suppress(RuntimeError):  # if there is no folder to keep it in
        return numba.njit(cache=True, **OPTIONS, **options)(function)
    return numba.njit(**OPTIONS, **options)(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled as a part of those that call it: for what is so short that a call costs as much."""
    return compiled(function, forceinline=True)


def cache_folder(room: Path) -> Path:
    """Where the code of a room's compiled functions is kept: in a folder named after all the room's sources.

    Numba looks for changes in a function's own file alone, not in those of the functions and constants it uses.
    """
    digest = hashlib.sha256()
    for path in sorted(room.rglob("*.py")):
        digest.update(f"{path.relative_to(room)} {path.stat().st_size} ".encode() + path.read_bytes())
    return room / "__pycache__" / digest.hexdigest()[:16]


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Let numba keep code in the folder, unless the user named another."""
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = before or str(folder)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


FOLDER = cache_folder(ROOM)
"""Where this room's compiled code is kept; to name it reads all its sources."""
