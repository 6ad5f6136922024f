"""An S3 server for all tests here, and for each a proxy in front of it and a place in its bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.buckets import KEYS, moto_server, new_uri
from support.faults import FaultyServer


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    with moto_server() as server:
        yield server


@pytest.fixture
def faults(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """The environment says that S3 is behind this proxy, and working copies are in the test's own folder."""
    proxy = FaultyServer(moto)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": proxy.url}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    yield proxy
    proxy.stop()


@pytest.fixture
def uri(faults: FaultyServer) -> str:
    """A study's, which is not there yet."""
    return f"{new_uri()}/mine"
