"""Tests of files that are old or new but never torn, and checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from tune_mnist.spec.errors import UserError
from tune_mnist.study.files import (
    Corrupt,
    WriteError,
    checksum,
    digest,
    make_folder,
    read_json,
    remove_leftovers,
    set_aside,
    sync_folder,
    write_atomic,
    write_json,
)

CONTENT: dict[str, Any] = {
    "epochs": [{"epoch": 1, "loss": 0.1, "none": None}, {"epoch": 2, "loss": 1e-30, "ok": True}], "name": "é\n\"\\",
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_makes_or_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for data in (b"old" * 100_000, b"new", b""):
        write_atomic(path, data)
        assert path.read_bytes() == data and names(tmp_path) == ["a.bin"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    with pytest.raises(TypeError, match="bytes-like"):
        write_atomic(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match="cannot write .*folder: Is a directory"):
        write_atomic(tmp_path / "folder", b"new")
    assert names(tmp_path) == ["a.bin", "folder"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "a.bin", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"cannot write .*a\.bin: No space left on device: see to its folder"):
        write_atomic(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_a_folder_that_is_gone_or_no_folder_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder, problem in {"none": "No such file or directory", "file": "Not a directory"}.items():
        with pytest.raises(WriteError, match=rf"cannot write .*a\.bin: {problem}: see to its folder") as caught:
            write_atomic(tmp_path / folder / "a.bin", b"")
        assert isinstance(caught.value, UserError) and isinstance(caught.value, OSError)
        again = pickle.loads(pickle.dumps(caught.value))  # as it comes from a worker
        assert type(again) is WriteError and str(again) == str(caught.value)
    with pytest.raises(WriteError, match=r"cannot write .*file: File exists"):
        make_folder(tmp_path / "file")
    assert names(tmp_path) == ["file"]


def test_making_a_folder_twice_is_fine(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b", parents=True)
        make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_everything_is_fsynced_before_and_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noting_fsync(descriptor: int) -> None:
        calls.append("fsync folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "fsync file")
        fsync(descriptor)

    def noting_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    write_atomic(tmp_path / "a.bin", b"data")
    assert calls == ["fsync file", "rename", "fsync folder"]
    sync_folder(tmp_path)
    assert calls[3:] == ["fsync folder"]
    write_json(tmp_path / "a.json", CONTENT, durable=False)
    assert calls[4:] == ["rename"] and read_json(tmp_path / "a.json") == CONTENT


def test_json_comes_back_and_its_bytes_depend_on_the_content_alone(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", CONTENT)
    write_json(tmp_path / "b.json", dict(reversed(CONTENT.items())))
    assert read_json(tmp_path / "a.json") == CONTENT
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    read_again = json.loads((tmp_path / "a.json").read_bytes())
    assert read_again["content"] == CONTENT and len(read_again["sha256"]) == 16
    write_json(tmp_path / "c.json", read_json(tmp_path / "a.json"))
    assert (tmp_path / "c.json").read_bytes() == (tmp_path / "a.json").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_is_refused_and_nothing_written(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": value})
    assert names(tmp_path) == []


def test_every_changed_byte_and_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {"epoch": 10, "loss": 0.5, "none": None, "name": "é"}
    write_json(path, content)
    whole = path.read_bytes()
    flips = (
        whole[:i] + bytes([byte]) + whole[i + 1 :]
        for i in range(len(whole)) for byte in {whole[i] ^ 1 << bit for bit in range(8)} | set(b" \t\n") - {whole[i]}
    )
    truncations = (whole[:i] for i in range(len(whole)))
    deletions = (whole[:i] + whole[i + 1 :] for i in range(len(whole)))
    additions = (whole + bytes([byte]) for byte in b"\0\n }x")
    for damaged in (*flips, *truncations, *deletions, *additions, bytes(len(whole))):
        path.write_bytes(damaged)
        with pytest.raises(Corrupt, match=r"a\.json does not match its checksum"):
            read_json(path)
    path.write_bytes(whole)
    assert read_json(path) == content


@pytest.mark.parametrize(
    "data",
    [b"[]", b"{}", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 100_000, b"1" * 10_000, b'{"content": {}}', b"NaN"]
)
def test_what_is_no_such_file_is_corrupt(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(Corrupt, match=r"a\.json does not match"):
        read_json(tmp_path / "a.json")


def test_a_missing_file_is_told_apart_from_a_corrupt_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_json(tmp_path / "none.json")


def test_a_digest_is_16_hex_digits_of_the_sha256() -> None:
    assert digest(b"abc") == hashlib.sha256(b"abc").hexdigest()[:16]


def test_a_checksum_tells_apart_what_differs_in_any_bit_or_in_its_start() -> None:
    data = bytes(range(64))
    changed = {checksum(data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :]) for i in range(64) for bit in range(8)}
    assert len(changed | {checksum(data), checksum(data, b"key"), checksum(data, b"yek")}) == 64 * 8 + 3
    assert checksum(b"c", b"ab") == checksum(b"abc") == "352441c2"  # as in zip files


def test_a_file_is_one_json_object_of_the_content_and_the_digest_of_its_canonical_form(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", CONTENT)
    canonical = json.dumps(CONTENT, sort_keys=True, indent=1)
    whole = {"content": CONTENT, "sha256": digest(canonical.encode())}
    assert (tmp_path / "a.json").read_text() == json.dumps(whole, indent=1, sort_keys=True) + "\n"


def test_setting_aside_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for number in range(1, 15):
        path.write_text(str(number))
        aside = set_aside(path)
        assert aside == tmp_path / f"a.json.aside-{number}" and not path.exists()
    assert [(tmp_path / f"a.json.aside-{n}").read_text() for n in range(1, 15)] == [str(n) for n in range(1, 15)]
    with pytest.raises(OSError, match="No such file"):
        set_aside(path)
    (tmp_path / "b").write_text("b")
    (tmp_path / "b.aside-1").symlink_to(tmp_path / "nowhere")
    assert set_aside(tmp_path / "b").name == "b.aside-2"


def test_a_folder_is_set_aside_whole(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "study").mkdir()
        (tmp_path / "study" / "file").write_text(str(number))
        assert (set_aside(tmp_path / "study") / "file").read_text() == str(number)
    assert names(tmp_path) == ["study.aside-1", "study.aside-2"]


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = ["a.json", "b.tmp", ".hidden", "a.json.aside-1", "state-00001-0123456789abcdef.pt"]
    for name in [*kept, ".a.json.0a1b2c3d.tmp", ".state.tmp"]:
        (tmp_path / name).write_bytes(b"x")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(kept)
