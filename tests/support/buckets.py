"""S3 servers on loopback for tests: moto's, in this process, and Ceph's, unpacked from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.faults import FaultyServer

BUCKET = "studies"
CEPH, CEPH_UP = "127.0.0.1:7480", Path(__file__).parent / "ceph_up.sh"
CEPH_FOLDER = "TUNE_MNIST_CEPH"  # of the environment
KEYS = {
    "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest", "AWS_REGION": "us-east-1",
    # Or a test without keys would look for some at an address that only clouds have.
    "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
"""What the environment says to reach either server."""


@contextmanager
def moto_server() -> Iterator[str]:
    """moto's S3 server; its HOST:PORT."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        make_bucket(f"{host}:{port}")
        yield f"{host}:{port}"
    finally:
        server.stop()


@contextmanager
def ceph_server(folder: Path) -> Iterator[Path]:
    """Ceph's S3 server at `CEPH`, with its data in `folder`, or in that of one which runs, $`CEPH_FOLDER`.

    Skips the test where it cannot be had.
    """
    if running := os.environ.get(CEPH_FOLDER):
        subprocess.run([CEPH_UP, running], capture_output=True, check=True)  # a test may have left it killed
        make_bucket(CEPH)
        yield Path(running)
        return
    if shutil.which("apt-get") is None:
        pytest.skip("Ceph's server is unpacked from Debian's packages, and there is no apt-get")
    try:
        try:
            subprocess.run([CEPH_UP, folder], capture_output=True, text=True, timeout=200, check=True)
        except subprocess.TimeoutExpired:
            pytest.skip("Ceph's server was not unpacked and up in 200 s")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"Ceph's server does not start here: {error.stderr[-300:]}")
        make_bucket(CEPH)
        yield folder
    finally:
        subprocess.run([CEPH_UP, folder, "down"], check=False)


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ceph's server for all tests of this process that ask for it; its folder. It takes half a minute to start."""
    place = tmp_path_factory.mktemp("ceph")
    with ceph_server(place) as folder, pytest.MonkeyPatch.context() as environment:
        environment.setenv(CEPH_FOLDER, str(folder))
        yield folder
    shutil.rmtree(place, ignore_errors=True)  # a gigabyte, which pytest would keep


def make_bucket(server: str, name: str = BUCKET) -> None:
    """Make a bucket, unless it is there."""
    import botocore.session

    session = botocore.session.get_session()
    client = session.create_client(
        "s3", endpoint_url=f"http://{server}", region_name="us-east-1", aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket=name)


def new_uri() -> str:
    """Where in the bucket nobody has written yet."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"


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
