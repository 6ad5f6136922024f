"""A training's files after an epoch as one object: what each is, then their bytes, the small ones first.

The object's name seals its bytes, and so do its first lines those of each file: a reader of the rows alone takes the
object's first bytes, and knows whether they are as they were written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tune_mnist.study.files import Corrupt, checksum
from tune_mnist.study.states import number_of

HEAD_BYTES = 2**17
"""With how many first bytes to begin: the rows of up to about fifty epochs."""


def name_of(epoch: int, data: bytes) -> str:
    """The name of the object that holds `data`: the epoch, and a checksum."""
    return f"{epoch:05}-{checksum(data)}"


def epoch_of(name: str) -> int | None:
    """The epoch in an object's name, None if it is no archive's."""
    epoch, dash, seal = name.rpartition("/")[2].partition("-")
    return int(epoch) if dash and len(seal) == 8 and epoch.isdigit() else None


def pack(paths: Iterable[Path]) -> bytes:
    """The files in one, in this order."""
    contents = {path.name: path.read_bytes() for path in paths}
    files = json.dumps([[name, len(data), checksum(data)] for name, data in contents.items()]).encode()
    head = f"tune_mnist {len(files):08} {checksum(files)}\n".encode()
    return b"".join([head, files, *contents.values()])


def unpack(data: bytes) -> dict[str, bytes]:
    """The files, as far as `data`, an object's first bytes or all of them, holds them whole.

    Raises:
        Corrupt: they are not as they were written, or this is no such object.
    """
    try:
        head, _, rest = data.partition(b"\n")
        mark, length, seal = head.decode().split()
        files = rest[: int(length)]
        if mark != "tune_mnist" or checksum(files) != seal:
            raise ValueError
        listed = json.loads(files)
    except ValueError:
        raise Corrupt("does not match its checksum") from None
    found, at = {}, len(head) + 1 + len(files)
    for name, size, seal in listed:
        content = data[at : at + size]
        if len(content) == size:
            if checksum(content) != seal:
                raise Corrupt("does not match its checksum")
            found[name] = content
        at += size
    return found


def size_of_rows(data: bytes) -> int:
    """How many first bytes of an object hold all but its last file, the state; `data` are some first bytes.

    Raises:
        Corrupt: they are not as they were written.
    """
    unpack(data)
    head, _, rest = data.partition(b"\n")
    length = int(head.split()[1])
    files = json.loads(rest[:length])
    return len(head) + 1 + length + sum(size for name, size, _ in files if not is_state(name))


def is_state(name: str) -> bool:
    """Whether a file holds a state."""
    return name.endswith(".pt")


def packed_files(folder: Path, epoch: int) -> list[Path]:
    """The files of a training's folder that an object holds after `epoch`, the state of that epoch last."""
    rows = [folder / f"{name}.json" for name in ("config", "history", "timings")]
    return [path for path in rows if path.exists()] + _states(folder, epoch)[:1]


def has_state(folder: Path, epoch: int) -> bool:
    """Whether a training's folder has a state of an epoch."""
    return bool(_states(folder, epoch))


def _states(folder: Path, epoch: int) -> list[Path]:
    return [path for path in folder.glob("state-*.pt") if number_of(path) == epoch]
