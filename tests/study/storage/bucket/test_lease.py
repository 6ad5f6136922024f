"""Tests of the lease: one holder, taken over when stale and not before, and whoever lost it knows."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from support.faults import FaultyServer, Refusal
from tune_mnist.spec.errors import UserError
from tune_mnist.study.storage.bucket import lease as module
from tune_mnist.study.storage.bucket import objects as requests
from tune_mnist.study.storage.bucket.lease import Clocks, Lease, Link
from tune_mnist.study.storage.bucket.objects import Bucket
from tune_mnist.study.storage.bucket.problems import NoAnswerError


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def lease(uri: str) -> Lease:
    return Lease(Bucket(uri), "mine")


def another(lease: Lease) -> Lease:
    return Lease(Bucket(lease.bucket.uri), "mine")


def left_by(lease: Lease, host: str = "elsewhere", **changes: object) -> Link:
    """A link that a run of another host left, the first of the chain."""
    link = Link(host, 7, "grid", f"{host} boot pid 1", 1, "word")
    link = dataclasses.replace(link, **changes)  # type: ignore[arg-type]
    assert lease.bucket.create("lease/00000001", json.dumps(dataclasses.asdict(link)).encode())
    return link


def at(monkeypatch: pytest.MonkeyPatch, lease: Lease, seconds_later: float) -> None:
    """Let the store's clock show so many seconds more than the newest link."""
    newest = lease.newest()
    assert newest is not None
    later = newest.modified + timedelta(seconds=seconds_later)
    monkeypatch.setattr(Lease, "_store_time", lambda self: later)


def test_one_holds_and_the_other_is_told_who_does_and_changes_nothing(lease: Lease) -> None:
    with lease.hold():
        before = lease.bucket.list()
        for refused in (another(lease).hold().__enter__, another(lease).refuse_if_held):
            with pytest.raises(UserError, match=r"^study mine is in use by process \d+ on .*: wait for it"):
                refused()
        assert lease.bucket.list() == before
        lease.check()
    with another(lease).hold():  # let go, at once
        pass


def test_of_many_that_begin_at_once_one_holds(lease: Lease) -> None:
    ready, over = threading.Barrier(6), threading.Barrier(6)

    def run(number: int) -> bool:
        mine = another(lease)
        ready.wait()
        try:
            with mine.hold():
                over.wait()
                return True
        except UserError as refusal:
            assert "in use by" in str(refusal) or "taken by another run just now" in str(refusal)
            over.wait()
            return False

    with ThreadPoolExecutor(6) as beside:
        for _ in range(4):
            assert sum(beside.map(run, range(6))) == 1


@pytest.mark.parametrize("seconds", [0, 59.5, 60, 3600])
def test_a_stale_lease_is_taken_over_after_a_minute_by_the_stores_clock_and_not_before(
    lease: Lease, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    left_by(lease)
    at(monkeypatch, lease, seconds)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's clock says nothing
    if seconds < 60:
        told = rf"in use by process 7 on elsewhere \(grid\): wait for it \(if it has died, for {60 - int(seconds)} s\)"
        with pytest.raises(UserError, match=told), lease.hold():
            pass
    else:
        with lease.hold():
            assert lease.first == 2


def test_the_dead_of_this_host_and_those_who_let_go_are_not_waited_for(lease: Lease) -> None:
    left_by(lease, process=f"{module._host()} 1", pid=2**22 + 1)
    with lease.hold():
        assert lease.first == 2
    newest = lease.newest()
    assert newest is not None and newest.link.released and newest.number == 3


@pytest.mark.parametrize("process", ["{host} 1 other", "elsewhere boot pid 1"])
def test_nobody_is_taken_for_dead_whose_processes_cannot_be_seen(lease: Lease, process: str) -> None:
    left_by(lease, process=process.format(host=module._host()), pid=2**22 + 1)
    with pytest.raises(UserError, match="in use by"), lease.hold():
        pass


def test_whoever_was_taken_over_writes_nothing_and_says_who_goes_on(
    lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process that was stopped for more than a minute, and is woken."""
    with lease.hold():
        at(monkeypatch, lease, 61)
        other = another(lease)
        with other.hold():
            assert other.first > lease.first
            lease.check()  # not asked yet: a moment ago we held it
            lease._sure_until = Clocks(0, 0)
            told = r"^another run took study mine over \(process \d+ on .*\): it goes on there$"
            for _ in range(2):
                with pytest.raises(UserError, match=told):
                    lease.check()
            other.check()
        newest = other.newest()
    assert newest == lease.newest()  # nothing released but by its holder


def test_a_holder_that_slept_until_the_links_of_its_successor_are_gone_knows_it_all_the_same(
    lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease.hold():
        at(monkeypatch, lease, 61)
        other = another(lease)
        with other.hold():
            other._extend()
            lease.bucket.delete([f"lease/{other.first:08}"])
            lease._sure_until = Clocks(0, 0)
            with pytest.raises(UserError, match="another run took study mine over"):
                lease.check()


def test_the_heart_beats_and_old_links_are_dropped(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(module, "KEPT_LINKS", 5)
    with lease.hold():
        wait_for(lambda: lease._number >= 17)
        lease.check()
        assert len(lease.bucket.list("lease")) <= 2 * 5 + 1


def wait_for(happens: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_link_whose_answer_is_lost_is_ours(lease: Lease, faults: FaultyServer) -> None:
    with lease.hold():
        faults.plan = ["lose"]
        lease._extend()
        assert lease._number == 2
        lease.check()


def test_a_listing_that_is_late_does_not_hide_the_newest_link(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease.hold():
        late = lease.bucket.list("lease")
        lease._extend()
        lease._extend()
        reader = another(lease)
        monkeypatch.setattr(reader.bucket, "list", lambda prefix="": late)
        newest = reader.newest()
        assert newest is not None and newest.number == 3


def test_a_holder_whose_store_is_gone_does_not_go_on(
    lease: Lease, faults: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease.bucket.patience_seconds = 0.2
    with lease.hold():
        faults.rule = lambda seen: Refusal(503, "SlowDown")
        lease._sure_until = Clocks(0, 0)
        with pytest.raises(NoAnswerError, match="no answer from"):
            lease.check()
        with pytest.raises(NoAnswerError, match="no answer from"):
            lease.check()


def test_links_tell_their_age_by_the_stores_clock(lease: Lease) -> None:
    left_by(lease)
    newest = lease.newest()
    assert newest is not None and abs((datetime.now(newest.modified.tzinfo) - newest.modified).total_seconds()) < 5
    assert str(newest.link.holder(3.0)) == "process 7 on elsewhere (grid)"
