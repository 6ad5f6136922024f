"""Tests of what a run asks of a bucket before it begins, on this machine and on others."""

from __future__ import annotations

import pickle
import time

import pytest

from support.buckets import new_uri
from support.faults import FaultyServer, Refusal
from tune_mnist.study.storage.bucket.access import check_access
from tune_mnist.study.storage.bucket.objects import Bucket
from tune_mnist.study.storage.bucket.problems import BucketError
from tune_mnist.study.storage.bucket.storage import BucketStorage


def test_keys_that_may_not_write_are_told_what_is_needed(uri: str, faults: FaultyServer) -> None:
    faults.rule = lambda seen: Refusal(403, "AccessDenied") if seen.method == "PUT" else None
    told = rf"^not allowed to write {uri}: needs GetObject, PutObject, DeleteObject, ListBucket$"
    with pytest.raises(BucketError, match=told):
        check_access(Bucket(uri))


def test_a_store_that_ignores_conditions_is_refused(uri: str, faults: FaultyServer) -> None:
    faults.rule = lambda seen: "unconditional"
    with pytest.raises(BucketError, match="^this store ignores If-None-Match: two runs could mix: use a store that"):
        check_access(Bucket(uri))
    assert Bucket(uri).list() == []


@pytest.mark.parametrize("off_seconds", [86400, -86400, 10])
def test_a_clock_that_is_a_day_off_is_told(uri: str, monkeypatch: pytest.MonkeyPatch, off_seconds: int) -> None:
    now = time.time()
    monkeypatch.setattr("tune_mnist.study.storage.bucket.access.time.time", lambda: now + off_seconds)
    if off_seconds == 10:
        assert abs(check_access(Bucket(uri)) - 10) < 5
    else:
        side = "ahead of" if off_seconds > 0 else "behind"
        told = rf"^this machine's clock is 14\d\d min {side} the store's: set it \(by NTP\), then run the same command"
        with pytest.raises(BucketError, match=told):
            check_access(Bucket(uri))


def test_another_machine_that_reaches_the_bucket_answers(uri: str) -> None:
    with BucketStorage(uri).probe() as probe:
        there = pickle.loads(pickle.dumps(probe))
        assert there.problem_on("a") is None and probe.is_answered("a") and not probe.is_answered("b")
    assert Bucket(uri).list() == []


def test_another_machine_that_does_not_says_why(uri: str, faults: FaultyServer) -> None:
    with BucketStorage(uri).probe() as probe, BucketStorage(f"{new_uri()}/mine").probe() as other:
        elsewhere = type(probe)(other.bucket, probe.name)
        assert elsewhere.problem_on("a") == f"reaches another {other.bucket.uri}"
        faults.rule = lambda seen: Refusal(403, "AccessDenied") if seen.method == "PUT" else None
        assert probe.problem_on("a") == (
            f"cannot use it (not allowed to write {uri}: needs GetObject, PutObject, DeleteObject, ListBucket)"
        )
        assert not probe.is_answered("a") and probe.unseen() == f"writes to another {uri}"
