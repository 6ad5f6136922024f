"""Bytes on disk that are old or new but never torn, and checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any


class Corrupt(Exception):
    """A file whose content does not match its checksum, or is no such file at all."""


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: written under a temporary name beside it, fsynced, renamed, folder fsynced.

    Raises:
        OSError: the folder is gone, read-only or full; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(data: bytes) -> str:
    """16 hex digits of the SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()[:16]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` with its checksum, in a form that depends on the content alone."""
    checksum = digest(_canonical(content))
    write_atomic(path, _canonical({"sha256": checksum, "content": content}) + b"\n")


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False).encode()


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        Corrupt: it was truncated, changed, or is not such a file.
    """
    try:
        parsed = json.loads(path.read_bytes())
        content, checksum = parsed["content"], parsed["sha256"]
        intact = digest(_canonical(content)) == checksum
    except (ValueError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise Corrupt(f"{path.name} does not match its checksum")
    return content


def set_aside(path: Path) -> Path:
    """Rename a damaged or superseded file or folder so that it is kept but no longer used; return its new path."""
    for number in range(1, 10_000):
        aside = path.with_name(f"{path.name}.aside-{number}")
        if not aside.exists():
            os.rename(path, aside)
            return aside
    raise FileExistsError(f"too many {path.name}.aside-* files")


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that killed writers left in `folder`."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
