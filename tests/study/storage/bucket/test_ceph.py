"""Tests against a real server, Ceph's: what moto might be kinder about."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.buckets import CEPH, KEYS, new_uri
from support.faults import FaultyServer, Refusal
from support.stored import CONTEXT, KEY, SPEC, train
from tune_mnist.spec.errors import UserError
from tune_mnist.study.storage.bucket.access import check_access
from tune_mnist.study.storage.bucket.lease import Lease
from tune_mnist.study.storage.bucket.objects import Bucket
from tune_mnist.study.storage.bucket.problems import BucketError, NotThereError
from tune_mnist.study.storage.bucket.storage import BucketStorage
from tune_mnist.study.study import Study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def proxy(ceph: Path) -> Iterator[FaultyServer]:
    with pytest.MonkeyPatch.context() as environment:
        proxy = FaultyServer(CEPH)
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": proxy.url}.items():
            environment.setenv(name, value)
        yield proxy
        proxy.stop()


@pytest.fixture
def place(proxy: FaultyServer) -> str:
    proxy.plan, proxy.rule = [], lambda seen: None
    return f"{new_uri()}/mine"


def test_objects_and_conditions_are_as_we_take_them_to_be(place: str) -> None:
    bucket = Bucket(place)
    assert abs(check_access(bucket)) < 60 and bucket.list() == []
    assert bucket.create("x", b"first" * 1000) and not bucket.create("x", b"second")
    assert bucket.read("x", 7) == b"firstfi" and bucket.read("x") == b"first" * 1000
    bucket.copy("x", "y/z")
    assert [each.name for each in bucket.list()] == ["x", "y/z"] and bucket.list("y")[0].size == 5000
    bucket.delete(["x", "y/z", "never"])
    with pytest.raises(NotThereError):
        bucket.read("x")


def test_lost_answers_busy_answers_and_changed_bytes_change_nothing(place: str, proxy: FaultyServer) -> None:
    bucket = Bucket(place)
    proxy.plan = ["lose"]
    assert bucket.create("x", b"ours")
    proxy.plan = [Refusal(503, "SlowDown")] * 5
    assert not bucket.create("x", b"theirs")
    proxy.plan = ["lose", "lose"]
    bucket.write("y", b"1" * 100000)
    assert bucket.read("y") == b"1" * 100000


def test_what_the_server_itself_refuses_is_one_line(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BucketError, match="^no bucket nowhere-at-all: make it or change --storage$"):
        BucketStorage("s3://nowhere-at-all/mine").refuse()
    for name, value in (("AWS_ACCESS_KEY_ID", "stranger"), ("AWS_SECRET_ACCESS_KEY", "wrong")):
        with monkeypatch.context() as keys:
            keys.setenv(name, value)
            forget_keys()
            with pytest.raises(BucketError, match=f"^not allowed to write {place}: needs GetObject, PutObject, Delete"):
                Bucket(place).write("x", b"1")
    forget_keys()


def forget_keys() -> None:
    from tune_mnist.study.storage.bucket import clients

    clients._session.cache_clear()


def test_of_drivers_that_begin_at_once_one_holds(place: str) -> None:
    held = []

    def run(number: int) -> bool:
        lease = Lease(Bucket(place), "mine")
        try:
            held.append(lease.hold())  # or it would let go
            held[-1].__enter__()
            return True
        except UserError:
            return False

    with ThreadPoolExecutor(6) as beside:
        assert sum(beside.map(run, range(6))) == 1


def test_a_training_is_kept_and_goes_on(place: str) -> None:
    with (storage := BucketStorage(place)).hold():
        study = Study(storage)
        study.create()
        study.add(SPEC, CONTEXT, {})
        train(study.training(KEY), 2)
    with (storage := BucketStorage(place)).hold():
        assert [row["epoch"] for row in train(Study(storage).training(KEY), 3)] == [1, 2, 3]
    assert len(Study(BucketStorage(place)).training(KEY).progress().rows) == 3
