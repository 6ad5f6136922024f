"""Tests of a bucket's objects: every way in which a store refuses is one line, or is waited for."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from support.buckets import BUCKET
from support.faults import Fault, FaultyServer, Refusal
from tune_mnist.spec.errors import UserError
from tune_mnist.study.storage.bucket import objects as module
from tune_mnist.study.storage.bucket.objects import Bucket
from tune_mnist.study.storage.bucket.problems import BucketError, NoAnswerError, NotThereError

SLOW_DOWN = Refusal(503, "SlowDown")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_SECONDS", 0.01)


def test_without_obstore_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("obstore", "obstore.store", "obstore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"s3://b/p needs the package obstore: run `pip install .*\[cloud\]"):
        Bucket("s3://b/p").list()


def test_objects_are_written_read_listed_and_deleted_and_a_pickled_bucket_is_the_same(uri: str) -> None:
    bucket = Bucket(uri)
    bucket.write("a/one", b"1" * 1000)
    bucket.write("a/one", b"2" * 2000)
    bucket.write("two", b"2")
    other = pickle.loads(pickle.dumps(bucket))
    assert other.read("a/one") == b"2" * 2000 and other.read("a/one", 5) == b"22222"
    assert [(o.name, o.size) for o in other.list()] == [("a/one", 2000), ("two", 1)]
    assert [o.name for o in other.list("a/")] == ["a/one"]
    other.delete(["a/one", "two", "never"])
    other.delete(["a/one"])
    assert bucket.list() == []
    with pytest.raises(NotThereError):
        bucket.read("two")


def test_of_two_creates_one_succeeds(uri: str) -> None:
    assert Bucket(uri).create("x", b"first") and not Bucket(uri).create("x", b"second")
    assert Bucket(uri).read("x") == b"first"


@pytest.mark.parametrize("fault", ["lose", Refusal(409, "ConditionalRequestConflict"), SLOW_DOWN])
def test_a_create_whose_answer_is_lost_or_late_is_ours_all_the_same(
    uri: str, faults: FaultyServer, fault: Fault
) -> None:
    bucket = Bucket(uri)
    faults.plan = [fault]
    made = bucket.create("x", b"ours")
    if fault == Refusal(409, "ConditionalRequestConflict"):  # another is being made: not ours, and not there either
        assert not made and bucket.create("x", b"ours")
    else:
        assert made and bucket.read("x") == b"ours"


def test_a_store_that_is_busy_five_times_is_waited_for(uri: str, faults: FaultyServer) -> None:
    bucket = Bucket(uri)
    faults.plan = [SLOW_DOWN] * 5
    bucket.write("x", b"1")
    faults.plan = [SLOW_DOWN, "lose", Refusal(500, "InternalError"), SLOW_DOWN, SLOW_DOWN]
    assert bucket.read("x") == b"1" and len(faults.seen) == 12


def test_a_store_that_stays_busy_or_is_gone_is_one_line_and_status_1(uri: str, faults: FaultyServer) -> None:
    faults.rule = lambda seen: SLOW_DOWN
    told = rf"^cannot write {uri}/x: no answer from {faults.url} in 1 s \(it says 503 SlowDown\): see .*, then run the"
    with pytest.raises(NoAnswerError, match=told) as raised:
        Bucket(uri, patience_seconds=1).write("x", b"1")
    assert raised.value.status == 1 and "\n" not in str(raised.value)
    faults.stop()
    told = rf"^cannot list {uri}: no answer from {faults.url} in 1 s: see .*, then run"
    with pytest.raises(NoAnswerError, match=told):
        Bucket(uri, patience_seconds=1).list()


NEEDS = "not allowed to (write .*: needs GetObject, PutObject, DeleteObject|read .*: needs GetObject), ListBucket$"
REFUSALS = [
    (Refusal(403, "InvalidAccessKeyId"), NEEDS),
    (Refusal(403, "SignatureDoesNotMatch"), NEEDS),
    (Refusal(403, "AccessDenied"), NEEDS),
    (Refusal(403), NEEDS),
    (Refusal(400, "ExpiredToken"), "^credentials have expired: renew them, then run the same command again$"),
    (Refusal(403, "RequestTimeTooSkewed"), "^this machine's clock is off the store's: set it .*, then run the same"),
    (Refusal(404, "NoSuchBucket"), f"^no bucket {BUCKET}: make it or change --storage$"),
    (Refusal(301, "PermanentRedirect", (("x-amz-bucket-region", "eu-west-1"),)),
     rf"^bucket {BUCKET} is in another region \(eu-west-1\): set AWS_REGION$"),
    (Refusal(400, "AuthorizationHeaderMalformed", (("x-amz-bucket-region", "eu-west-1"),)),
     rf"^bucket {BUCKET} is in another region \(eu-west-1\): set AWS_REGION$"),
    (Refusal(501, "NotImplemented"), "the store cannot .* as a study needs: change --storage$"),
    (Refusal(405, "MethodNotAllowed"), "the store says 405 MethodNotAllowed: see to that, then run"),
]


@pytest.mark.parametrize(("refusal", "told"), REFUSALS)
def test_what_the_store_refuses_is_one_line_whatever_was_asked(
    uri: str, faults: FaultyServer, refusal: Refusal, told: str
) -> None:
    faults.rule = lambda seen: refusal
    bucket = Bucket(uri)
    for ask in (bucket.list, lambda: bucket.read("x"), lambda: bucket.write("x", b""), lambda: bucket.create("x", b"")):
        with pytest.raises(BucketError, match=told) as raised:
            ask()
        assert raised.value.status == 2 and "\n" not in str(raised.value)


def test_a_store_that_hangs_is_asked_again(uri: str, faults: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_mnist.study.storage.bucket.clients.ANSWER_SECONDS", 1)
    bucket = Bucket(uri)
    faults.plan = ["hang"]
    bucket.write("x", b"1")
    faults.plan = ["hang"]
    assert bucket.read("x") == b"1" and len(faults.seen) == 4


def test_without_keys_it_says_how_to_give_some(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tune_mnist.study.storage.bucket import clients

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    clients._session.cache_clear()
    try:
        with pytest.raises(UserError, match=f"^no credentials for {uri}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and"):
            Bucket(uri).list()
    finally:
        clients._session.cache_clear()


def test_keys_region_and_endpoint_may_come_from_a_profile(
    uri: str, faults: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tune_mnist.study.storage.bucket import clients

    (tmp_path / "config").write_text(f"[profile lab]\nregion = eu-north-1\nendpoint_url = {faults.url}\n")
    (tmp_path / "keys").write_text("[lab]\naws_access_key_id = mine\naws_secret_access_key = secret\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    clients._session.cache_clear()
    try:
        bucket = Bucket(uri)
        bucket.write("x", b"1")
        assert clients.endpoint_of(uri) == faults.url and bucket.client.config["region"] == "eu-north-1"
        assert clients._credentials(uri)()["access_key_id"] == "mine" and len(faults.seen) == 1
    finally:
        clients._session.cache_clear()
