"""IDX files, MNIST's format, to arrays: every claim of the header checked against what follows."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from tune_mnist.spec.errors import UserError, require

Bytes = NDArray[np.uint8]

_UINT8 = 0x08
_MOST_BYTES = 2**31  # a file that claims more is no set of pictures to hold in memory


def read_idx(path: Path) -> Bytes:
    """Read an IDX file of unsigned bytes, plain or gzip (told by its content), in the shape it states.

    Raises:
        UserError: the file cannot be read, is not IDX, or holds more or fewer values than it states.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            return _decode(cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if zipped else raw, path)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}): replace it") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}: name a readable IDX file") from None


def idx_md5(array: Bytes) -> str:
    """Hex MD5 of the decompressed IDX file that holds `array`, as published for MNIST's files."""
    header = bytes([0, 0, _UINT8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    md5 = hashlib.md5(header, usedforsecurity=False)
    md5.update(np.ascontiguousarray(array).data)
    return md5.hexdigest()


def _decode(stream: IO[bytes], path: Path) -> Bytes:
    head = stream.read(4)
    rule = f"{path} is an IDX file of bytes in 1 to 3 dimensions, starting 00 00 08 01 to 00 00 08 03"
    is_idx = len(head) == 4 and head[:3] == bytes([0, 0, _UINT8]) and 1 <= head[3] <= 3
    require(is_idx, rule, head.hex(" ") or "an empty file", "replace it")
    sizes = stream.read(4 * head[3])
    require(len(sizes) == 4 * head[3], f"{path} has its whole header", f"{4 + len(sizes)} bytes", "replace it")
    shape = struct.unpack(f">{head[3]}I", sizes)
    size = math.prod(shape)
    rule = f"{path} states at most {_MOST_BYTES} bytes"
    require(size <= _MOST_BYTES, rule, times(shape), "replace it")
    values = _read_at_most(stream, size + 1)
    actual = f"{len(values)} bytes" if len(values) <= size else f"more than {size} bytes"
    require(len(values) == size, f"{path} holds the {times(shape)} bytes its header states", actual, "replace it")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def _read_at_most(stream: IO[bytes], most: int) -> bytearray:
    """Up to `most` bytes, in chunks: memory follows what the file holds, not what its header claims."""
    values = bytearray()
    while len(values) < most and (chunk := stream.read(min(most - len(values), 2**20))):
        values += chunk
    return values


def times(shape: Sequence[int]) -> str:
    """A shape as people write it: 60000×28×28."""
    return "×".join(map(str, shape))
