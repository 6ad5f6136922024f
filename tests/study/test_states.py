"""Tests of sealed states: names on disk stay as they are, and what does not match its name is never given out."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest

from support.stored import damage
from tune_mnist.study.files import checksum, digest
from tune_mnist.study.states import SealedStates, number_of

KINDS = {
    "state": lambda folder, owner=b"0123456789abcdef": SealedStates(folder, "state", 5, owner, checksum),
    "step": lambda folder, owner=b"0123456789abcdef/3/": SealedStates(folder, "step", 8, owner, digest),
}


def no_damage(path: Path, problem: str) -> None:
    pytest.fail(problem)


@pytest.fixture(params=KINDS)
def states(request: pytest.FixtureRequest, tmp_path: Path) -> SealedStates:
    made: SealedStates = KINDS[request.param](tmp_path)
    return made


def test_the_names_on_disk_are_those_that_older_versions_wrote(tmp_path: Path) -> None:
    crc = zlib.crc32(b"0123456789abcdef" + b"a state")
    sha = hashlib.sha256(b"0123456789abcdef/3/" + b"a state").hexdigest()[:16]
    KINDS["state"](tmp_path).write(15, b"a state")
    KINDS["step"](tmp_path).write(500, b"a state")
    assert {path.name for path in tmp_path.iterdir()} == {f"state-00015-{crc:08x}.pt", f"step-00000500-{sha}.pt"}


def test_what_was_written_is_given_out_the_newest_first(states: SealedStates) -> None:
    for number in (2, 10, 1):
        states.write(number, b"state %d" % number)
    assert [number_of(path) for path in states.paths()] == [10, 2, 1]
    assert list(states.intact(no_damage)) == [(10, b"state 10"), (2, b"state 2"), (1, b"state 1")]


def test_damaged_strayed_and_renumbered_files_are_reported_and_passed_over(states: SealedStates) -> None:
    for number in (1, 2, 3):
        states.write(number, b"state %d" % number)
    damage(states.paths()[0])
    other = SealedStates(states.folder, states.stem, states.digits, b"another owner", states.seal)
    other.write(4, b"state 4")
    seal = states.name(1, b"state 1").split("-")[2]
    renumbered = states.folder / f"{states.stem}-{5:0{states.digits}}-{seal}"
    renumbered.write_bytes(b"state 1 of another content")
    reports: list[tuple[Path, str]] = []
    intact = states.intact(lambda path, problem: reports.append((path, problem)))
    assert list(intact) == [(2, b"state 2"), (1, b"state 1")]
    assert [number_of(path) for path, _ in reports] == [5, 4, 3]
    assert all(problem == f"{path.name} does not match its checksum" for path, problem in reports)


def test_a_file_that_vanishes_meanwhile_is_no_damage(states: SealedStates) -> None:
    for number in (1, 2, 3):
        states.write(number, b"state %d" % number)
    intact = states.intact(no_damage)
    assert next(intact)[0] == 3
    states.paths()[1].unlink()
    assert [number for number, _ in intact] == [1]


def test_other_files_of_the_folder_are_none_of_its_states(states: SealedStates) -> None:
    states.write(1, b"state 1")
    for name in ("history.json", f".{states.stem}-00000001-ab.pt.0123.tmp", f"{states.paths()[0].name}.aside-1"):
        (states.folder / name).touch()
    assert [path.name for path in states.paths()] == [states.name(1, b"state 1")]
