"""Bytes on disk that are old or new but never torn, and checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import secrets
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from tune_mnist.spec.errors import Damaged, UserError


class Corrupt(Exception):
    """A file whose content does not match its checksum, or is no such file at all."""


class WriteError(OSError, UserError):
    """A write that the disk or the folder refused, told in one line: nothing that was finished is lost."""

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}: see to its folder, then run the same command again"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block, which writes `path`, into `WriteError`."""
    try:
        yield
    except OSError as error:
        raise WriteError(error.errno, error.strerror or str(error), str(path)) from None


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data`: written under a temporary name beside it, fsynced, renamed, folder fsynced.

    Unless `durable`, without fsync: the file outlives this process, and need not outlive the machine.

    Raises:
        WriteError: the folder is gone, read-only or full; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with writing(path):
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        if durable:
            sync_folder(path.parent)


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """Make a folder unless it is there; `WriteError` if that fails."""
    with writing(folder):
        folder.mkdir(parents=parents, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(data: bytes, start: bytes = b"") -> str:
    """16 hex digits: the SHA-256 of `start` and `data`."""
    sha256 = hashlib.sha256(start)
    sha256.update(data)
    return sha256.hexdigest()[:16]


def checksum(data: bytes, start: bytes = b"") -> str:
    """8 hex digits: the CRC-32 of `start` and `data`. For large data that are written often: SHA-256 takes longer."""
    return f"{zlib.crc32(data, zlib.crc32(start)):08x}"


def write_json(path: Path, content: dict[str, Any], *, durable: bool = True) -> None:
    """Write `content` with its checksum, in a form that depends on the content alone, as `write_atomic` does."""
    write_atomic(path, _encoded(content), durable=durable)


HEAD, SEAL, TAIL = b'{\n "content": ', b',\n "sha256": "', b'"\n}\n'
_INDENTED = re.compile(rb"\n ")


def _encoded(content: Any) -> bytes:
    return _sealed(json.dumps(content, sort_keys=True, indent=1, allow_nan=False).encode())


def _sealed(canonical: bytes) -> bytes:
    # As one call would write both, but for half the time: a string in JSON holds no line's end.
    nested = canonical.replace(b"\n", b"\n ")
    return HEAD + nested + SEAL + digest(canonical).encode() + TAIL


def _unsealed(data: bytes) -> bytes:
    """The content's own bytes, which are what was sealed: to encode it again would take ten times as long.

    Raises:
        ValueError: they do not match their checksum, or there are none.
    """
    nested = data.removeprefix(HEAD).rpartition(SEAL)[0]
    canonical = _INDENTED.sub(b"\n", nested)  # half the time that bytes.replace takes to look for two bytes
    if _sealed(canonical) != data:
        raise ValueError("no seal that matches")
    return canonical


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        Corrupt: it was truncated, changed, or is not such a file.
    """
    data = path.read_bytes()
    try:
        return _decoded(_unsealed(data))
    except (ValueError, RecursionError):
        raise Corrupt(f"{path.name} does not match its checksum") from None


def _decoded(canonical: bytes) -> Any:
    try:
        return from_json(canonical)  # a quarter of the time that json takes
    except ValueError:
        return json.loads(canonical)  # which alone reads the halves of surrogates that stand for bytes that are no text


def set_aside(path: Path) -> Path:
    """Rename a damaged or superseded file or folder so that it is kept but no longer used; return its new path."""
    taken = (path.with_name(f"{path.name}.aside-{number}") for number in itertools.count(1))
    aside = next(name for name in taken if not os.path.lexists(name))
    os.rename(path, aside)
    return aside


def warn_and_set_aside(path: Path, problem: str) -> None:
    """Keep a damaged file under another name and say so, with a `Damaged` warning."""
    with writing(path):
        aside = set_aside(path)
    warnings.warn(f"{problem}; kept as {aside.name}", Damaged, stacklevel=2)


def names_in(folder: Path) -> list[str]:
    """The names in a folder; none if it is not there."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(paths: Iterable[Path]) -> None:
    """Delete files, some of which may be gone already."""
    for path in paths:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that killed writers left in `folder`."""
    remove(folder.glob(".*.tmp"))
