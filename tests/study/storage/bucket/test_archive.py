"""Tests of a training's files as one object: what is changed on the way is never taken for what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.stored import KEY, begun
from tune_mnist.study.files import Corrupt
from tune_mnist.study.storage.bucket.archive import epoch_of, name_of, pack, packed_files, size_of_rows, unpack
from tune_mnist.study.study import Study


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    (tmp_path / "trainings").mkdir()
    return pack(packed_files(begun(Study(tmp_path).training(KEY), 2).folder, 2))


def test_the_files_come_back_as_they_were_the_state_last(data: bytes, tmp_path: Path) -> None:
    files = unpack(data)
    folder = Study(tmp_path).training(KEY).folder
    assert files == {path.name: path.read_bytes() for path in folder.iterdir() if "00001" not in path.name}
    assert [*files][:3] == ["config.json", "history.json", "timings.json"] and len(files) == 4
    assert data.endswith(files.popitem()[1]) and epoch_of(name_of(2, data)) == 2


def test_the_first_bytes_hold_the_rows(data: bytes) -> None:
    size = size_of_rows(data[:300])
    assert [*unpack(data[:size])] == ["config.json", "history.json", "timings.json"]
    assert [*unpack(data[: size - 1])] == ["config.json", "history.json"]


def test_a_byte_changed_anywhere_is_noticed(data: bytes) -> None:
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert name_of(2, changed) != name_of(2, data)
        with pytest.raises(Corrupt, match="does not match its checksum"):
            unpack(changed)


@pytest.mark.parametrize("name", ["failure.json", "test-00005.json", "00005", "0000x-12345678", "x"])
def test_other_objects_are_no_archives(name: str) -> None:
    assert epoch_of(f"trainings/{KEY}/{name}") is None
    for data in (b"", b"\n", b"tune_mnist 5 00000000\n", b"\xff\xfe\n"):
        with pytest.raises(Corrupt, match="does not match its checksum"):
            unpack(data)
