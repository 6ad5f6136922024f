"""Alive is what moves: times that skewed clocks give are seen through by a second look."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tune_mnist.study import heartbeat
from tune_mnist.study.heartbeat import beating, seen_to_beat, vouched_seconds

HOUR = 3600.0


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / "lock").write_text("")
    return tmp_path / "lock"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks a second apart."""
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 1.0)


def beat_at(path: Path, age_seconds: float) -> None:
    os.utime(path, (time.time() - age_seconds,) * 2)


def age_of(path: Path) -> float:
    return time.time() - path.stat().st_mtime


@pytest.fixture
def skewed_heart(lock: Path, request: pytest.FixtureRequest) -> Iterator[float]:
    """A heart that beats every 0.1 s, by a clock that is `request.param` seconds behind."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.1):
            beat_at(lock, request.param)

    thread = threading.Thread(target=beat)
    beat_at(lock, request.param)
    thread.start()
    yield request.param
    stop.set()
    thread.join()


@pytest.mark.parametrize(("age", "left"), [(0, 60), (20, 40), (59, 1), (-30, 90)])
def test_a_beat_of_about_now_vouches_for_a_while(age: float, left: float, lock: Path) -> None:
    beat_at(lock, age)
    assert vouched_seconds(age_of(lock)) == pytest.approx(left, abs=0.9)


@pytest.mark.parametrize("age", [61, HOUR, 1000 * HOUR, -61, -HOUR, -1000 * HOUR])
def test_a_time_far_from_now_says_nothing(age: float, lock: Path) -> None:
    beat_at(lock, age)
    assert vouched_seconds(age_of(lock)) == 0


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("skewed_heart", [HOUR, -HOUR, -1000 * HOUR], indirect=True)
def test_who_lives_by_another_clock_is_seen_to_beat(skewed_heart: float, lock: Path) -> None:
    assert vouched_seconds(age_of(lock)) == 0 and seen_to_beat(lock)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("age", [HOUR, -HOUR])
def test_who_died_by_another_clock_is_not(age: float, lock: Path) -> None:
    beat_at(lock, age)
    before = lock.stat().st_mtime_ns
    started = time.monotonic()
    assert not seen_to_beat(lock)
    assert time.monotonic() - started < 5 and lock.stat().st_mtime_ns == before


def test_a_second_look_is_longer_than_two_beats() -> None:
    assert heartbeat.LOOK_SECONDS > 2 * heartbeat.HEARTBEAT_SECONDS


def test_our_own_heart_is_seen(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.05)
    with open(lock, "r+b") as file, beating(file.fileno()):
        assert seen_to_beat(lock)
