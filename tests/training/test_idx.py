"""Tests of the IDX reader."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from support.idx import idx_bytes
from tune_mnist.spec.errors import UserError
from tune_mnist.training.idx import read_idx

PLAIN = idx_bytes(np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28))


def test_a_plain_file_named_gz_is_read_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(PLAIN)
    assert read_idx(tmp_path / "a.gz").shape == (2, 28, 28)


def _flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (PLAIN[:-1], "holds the 2×28×28 bytes its header states` must hold, but got 1567 bytes"),
        (PLAIN + b"x", "more than 1568 bytes"),
        (gzip.compress(PLAIN + b"x", mtime=0), "more than 1568 bytes"),
        (gzip.compress(PLAIN[:-1], mtime=0), "1567 bytes"),
        (PLAIN[:10], "has its whole header` must hold, but got 10 bytes"),
        (b"", "an empty file"),
        (b"not an IDX file", "is an IDX file of bytes .* got 6e 6f 74 20"),
        (b"\x01" + PLAIN[1:], "starting 00 00 08 01"),
        (PLAIN[:2] + b"\x0d" + PLAIN[3:], "got 00 00 0d 03"),
        (PLAIN[:3] + b"\x00", "got 00 00 08 00"),
        (gzip.compress(PLAIN, mtime=0)[:-20], "is a damaged gzip file"),
        (_flip(gzip.compress(PLAIN, mtime=0), -6), "is a damaged gzip file .*CRC"),
        (_flip(gzip.compress(PLAIN, mtime=0), 2), "is a damaged gzip file"),
        (gzip.compress(PLAIN, mtime=0)[:10] + b"\xff" * 50, "is a damaged gzip file"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 28, 28), "at most 2147483648 bytes.* got 2147483648×28×28"),
    ],
)
def test_a_malformed_file_is_told_in_one_line_naming_it(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "some-file.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        read_idx(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_memory_follows_the_file_not_its_header(tmp_path: Path) -> None:
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**20, 28, 28)  # states 784 MiB
    bomb = struct.pack(">BBBB1I", 0, 0, 8, 1, 1000) + bytes(200 * 2**20)  # 200 MiB of zeros behind 1,000 stated
    for content, problem in ((header + b"x", "got 1 bytes"), (gzip.compress(bomb, 1), "more than 1000 bytes")):
        (tmp_path / "file").write_bytes(content)
        tracemalloc.start()
        with pytest.raises(UserError, match=problem):
            read_idx(tmp_path / "file")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * 2**20
