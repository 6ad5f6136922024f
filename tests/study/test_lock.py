"""Tests of the study's lock, with real processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tune_mnist.spec.errors import UserError
from tune_mnist.study import lock
from tune_mnist.study.lock import read_holder, refuse_if_held, study_lock

ROOT = Path(__file__).parents[2]
# Told a time, it tries the lock then and says how that went; another line lets go of it.
CONTENDER = """
import sys, time
from pathlib import Path
from tune_mnist.spec.errors import UserError
from tune_mnist.study.lock import study_lock
for line in sys.stdin:
    while time.time() < float(line):
        pass
    try:
        with study_lock(Path(sys.argv[1])):
            print("won", flush=True)
            sys.stdin.readline()
    except UserError as error:
        print(error, flush=True)
        sys.stdin.readline()
    print("let go", flush=True)
"""


class Contender:
    """Another process that tries for the lock when told."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def say(self, text: object) -> None:
        assert self.process.stdin is not None
        print(text, file=self.process.stdin, flush=True)

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, text: object) -> str:
        self.say(text)
        return self.answer()


@contextlib.contextmanager
def contenders(folder: Path, n: int) -> Iterator[list[Contender]]:
    made = [Contender(folder) for _ in range(n)]
    try:
        yield made
    finally:
        for one in made:
            one.process.kill()
            one.process.communicate()


def bytes_and_times(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def write_holder(folder: Path, host: str, age_seconds: float, pid: int = 4711) -> None:
    """A lock file as another host's run, or one that died, leaves it."""
    (folder / "lock").write_text(json.dumps({"host": host, "pid": pid, "command": "grid.py"}))
    then = time.time() - age_seconds
    os.utime(folder / "lock", (then, then))


def test_the_holder_is_told_and_forgotten_after_release(tmp_path: Path) -> None:
    assert read_holder(tmp_path) is None
    for _ in range(2):
        with study_lock(tmp_path):
            holder = read_holder(tmp_path)
            assert holder is not None and holder.heartbeat_seconds == pytest.approx(0, abs=30)
            assert (holder.host, holder.pid) == (socket.gethostname(), os.getpid())
            assert holder.command == " ".join(sys.argv)
        assert read_holder(tmp_path) is None


def test_an_error_lets_go_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="division"), study_lock(tmp_path):
        _ = 1 / 0
    with study_lock(tmp_path):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "study-lock"]


def test_another_process_is_refused_within_a_second_and_changes_no_byte(tmp_path: Path) -> None:
    with contenders(tmp_path, 2) as (first, second):
        assert first.ask(0) == "won"
        before = bytes_and_times(tmp_path)
        start = time.monotonic()
        refusal = second.ask(0)
        assert time.monotonic() - start < 1
        named = f"in use by process {first.process.pid} on {socket.gethostname()}"
        assert refusal.startswith(f"study {tmp_path.name} is {named} (-c {tmp_path}): wait for it")
        with pytest.raises(UserError, match=f"{named} .*choose another --name"), study_lock(tmp_path):
            pass
        with pytest.raises(UserError, match=named):
            refuse_if_held(tmp_path)
        assert bytes_and_times(tmp_path) == before
        assert first.ask("") == second.ask("") == "let go"
        assert second.ask(0) == "won"


def test_a_killed_holder_is_taken_over_at_once(tmp_path: Path) -> None:
    with contenders(tmp_path, 2) as (first, second):
        assert first.ask(0) == "won"
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        holder = read_holder(tmp_path)
        assert holder is not None and holder.pid == first.process.pid
        start = time.monotonic()
        assert second.ask(0) == "won"
        assert time.monotonic() - start < 1
        holder = read_holder(tmp_path)
        assert holder is not None and holder.pid == second.process.pid


def test_of_two_that_race_exactly_one_wins_each_time(tmp_path: Path) -> None:
    with contenders(tmp_path, 2) as pair:
        for one in pair:  # started and imported
            assert one.ask(0) == "won" and one.ask("") == "let go"
        for _ in range(20):
            instant = time.time() + 0.01
            for one in pair:
                one.say(instant)
            answers = [one.answer() for one in pair]
            winner = answers.index("won")
            loser = answers[1 - winner]
            assert f"in use by process {pair[winner].process.pid} on " in loser
            for one in pair:
                assert one.ask("") == "let go"


def test_looking_whether_it_is_held_makes_and_takes_nothing(tmp_path: Path) -> None:
    refuse_if_held(tmp_path)
    refuse_if_held(tmp_path / "none")
    assert not list(tmp_path.iterdir())
    with study_lock(tmp_path):
        pass
    before = bytes_and_times(tmp_path)
    refuse_if_held(tmp_path)
    assert bytes_and_times(tmp_path) == before


def test_one_that_only_looks_in_makes_nobody_fail(tmp_path: Path) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.002):
            with contextlib.suppress(UserError):
                refuse_if_held(tmp_path)

    onlooker = threading.Thread(target=look)
    onlooker.start()
    try:
        for _ in range(100):
            with study_lock(tmp_path):
                pass
    finally:
        stop.set()
        onlooker.join()


def test_a_study_moved_while_its_lock_was_being_taken_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def move_first(descriptor: int, operation: int) -> None:
        (tmp_path / "study").rename(tmp_path / "study.aside-1")
        flock(descriptor, operation)

    (tmp_path / "study").mkdir()
    monkeypatch.setattr(fcntl, "flock", move_first)
    with pytest.raises(UserError, match="study study was moved by another run"), study_lock(tmp_path / "study"):
        pass


def test_a_missing_folder_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write .*lock: No such file"), study_lock(tmp_path / "none"):
        pass


def test_a_fresh_heartbeat_of_another_host_refuses_and_changes_no_byte(tmp_path: Path) -> None:
    write_holder(tmp_path, "elsewhere", age_seconds=30)
    before = bytes_and_times(tmp_path)
    with pytest.raises(UserError, match=r"in use by process 4711 on elsewhere \(grid\.py\)"), study_lock(tmp_path):
        pass
    with pytest.raises(UserError, match="in use by process 4711 on elsewhere"):
        refuse_if_held(tmp_path)
    assert bytes_and_times(tmp_path) == before
    holder = read_holder(tmp_path)
    assert holder is not None and holder.host == "elsewhere"
    assert holder.heartbeat_seconds == pytest.approx(30, abs=10)


def test_a_stale_heartbeat_of_another_host_is_taken_over(tmp_path: Path) -> None:
    write_holder(tmp_path, "elsewhere", age_seconds=61)
    refuse_if_held(tmp_path)
    with study_lock(tmp_path):
        holder = read_holder(tmp_path)
        assert holder is not None and holder.pid == os.getpid()


@pytest.mark.parametrize("age_seconds", [0, 30, 61])
def test_a_dead_holder_of_this_host_is_taken_over_whatever_its_heartbeat(tmp_path: Path, age_seconds: float) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    write_holder(tmp_path, socket.gethostname(), age_seconds, gone.pid)
    dead = read_holder(tmp_path)
    assert dead is not None and dead.pid == gone.pid and dead.is_here and not dead.lives
    refuse_if_held(tmp_path)
    with study_lock(tmp_path):
        holder = read_holder(tmp_path)
        assert holder is not None and holder.pid == os.getpid() and holder.lives
        assert holder.heartbeat_seconds < 30


@pytest.mark.parametrize("age_seconds", [0, 30, 61])
def test_a_holder_of_this_host_that_lives_is_not_taken_over_whatever_its_heartbeat(
    tmp_path: Path, age_seconds: float
) -> None:
    with contenders(tmp_path, 1) as (other,):
        assert other.ask(0) == "won"
        os.utime(tmp_path / "lock", (time.time() - age_seconds,) * 2)
        named = f"in use by process {other.process.pid} on {socket.gethostname()}"
        with pytest.raises(UserError, match=named), study_lock(tmp_path):
            pass
        with pytest.raises(UserError, match=named):
            refuse_if_held(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"{", b"[]", b'{"host": "elsewhere"}', b"\xff", b"1"])
def test_a_damaged_lock_file_refuses_nobody(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert read_holder(tmp_path) is None
    with study_lock(tmp_path):
        holder = read_holder(tmp_path)
        assert holder is not None and holder.pid == os.getpid()


def test_the_heart_beats_while_the_lock_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.02)
    with study_lock(tmp_path):
        os.utime(tmp_path / "lock", (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / "lock").stat().st_mtime < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    ended = (tmp_path / "lock").stat().st_mtime_ns
    time.sleep(0.1)
    assert (tmp_path / "lock").stat().st_mtime_ns == ended


def test_a_moved_or_removed_folder_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    for number, end in enumerate((lambda p: p.rename(tmp_path / "moved"), lambda p: (p / "lock").unlink())):
        folder = tmp_path / f"study{number}"
        folder.mkdir()
        with study_lock(folder):
            end(folder)
            time.sleep(0.05)
            assert [thread for thread in threading.enumerate() if thread.name == "study-lock"], "the heart stopped"
    assert read_holder(tmp_path / "moved") is None


def test_a_folder_without_file_locks_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(UserError, match="cannot lock the study: Operation not supported"), study_lock(tmp_path):
        pass
