"""What a cluster that cannot take a run tells its user, and how soon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_nodes import LocalNodes, free_port, local_nodes

from support.idx import random_arrays, write_folder

SOON_SECONDS = 30
GRID = [sys.executable, "-m", "tune_mnist.grid", "--models", "SimpleNN", "--lr", "1e-3", "--batch-size", "32"]
NOBODY = "192.0.2.1:6379"  # of the addresses that RFC 5737 sets aside for documentation
# Hides the folder named next from the command after it.
HIDDEN = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')
TAKEN = """
import sys, time, ray

ROOT = Path(__file__).parents[2]
ray.init(address=sys.argv[1], log_to_driver=False)
held = [ray.remote(num_cpus=1)(type("Holder", (), {})).remote() for _ in range(2)]
ray.get([holder.__ray_ready__.remote() for holder in held])
print("taken", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalNodes]:
    with local_nodes((1, 1)) as nodes:
        yield nodes


def start(folder: Path, address: str, storage: Path, cluster: LocalNodes | None = None) -> subprocess.Popen[str]:
    data = write_folder(folder / "data", random_arrays(train=600, test=100))
    words = ["--epochs", "1", "--data", str(data), "--storage", str(storage), "--address", address]
    environment = os.environ if cluster is None else cluster.environment
    return subprocess.Popen(
        [*GRID, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def refused(run: subprocess.Popen[str]) -> str:
    """The error line of a run that ends soon, with status 2."""
    out, told = run.communicate(timeout=SOON_SECONDS)
    assert run.returncode == 2 and out == "" and "Traceback" not in told and told.count("error: ") == 1, told
    return told.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("address", ["127.0.0.1:PORT", NOBODY])
def test_no_cluster_there(address: str, tmp_path: Path) -> None:
    address = address.replace("PORT", str(free_port()))
    told = refused(start(tmp_path, address, tmp_path / "results"))
    assert address in told and "check --address" in told and not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.cluster
def test_a_full_cluster_is_told_and_waited_for(cluster: LocalNodes, shared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKEN, cluster.address]
    taker = subprocess.Popen(command, env=cluster.environment, stdout=subprocess.PIPE, text=True)
    assert taker.stdout is not None and taker.stdout.readline() == "taken\n"
    run = start(tmp_path, cluster.address, shared / "full", cluster)
    try:
        assert run.stderr is not None
        began, line = time.monotonic(), ""
        while "the cluster is full" not in line:
            line = run.stderr.readline()
            assert line and time.monotonic() - began < SOON_SECONDS, line
        assert "no node has 1 CPU free now (0 of 2 CPU free in all)" in line
        taker.kill()
        assert run.wait(60) == 0  # as soon as there is room
    finally:
        for process in (taker, run):
            process.kill()


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, to hide a folder")
def test_a_folder_that_one_node_does_not_see(cluster: LocalNodes, shared: Path, tmp_path: Path) -> None:
    cluster.add(cpus=1, prefix=(*HIDDEN, str(shared)))
    began = time.monotonic()
    told = refused(start(tmp_path, cluster.address, shared / "unseen", cluster))
    assert "does not see" in told and "same shared folder" in told and time.monotonic() - began < SOON_SECONDS
