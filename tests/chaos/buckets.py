"""Runs whose study is in a bucket: drivers, workers and the server killed, working copies erased, two drivers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from chaos.deaths import run_is_killed
from chaos.harness import AT_ONCE, TABLES, Lab, Run, check_work, kill, tables
from support.buckets import CEPH, CEPH_UP, KEYS, ceph_server, new_uri
from tune_mnist.study.files import digest
from tune_mnist.study.storage.bucket.objects import Bucket

COPIES = Path(tempfile.gettempdir()) / f"tune_mnist-studies-{os.getuid()}"
"""Where nodes have their working copies."""


@contextlib.contextmanager
def ceph(lab: Lab) -> Iterator[Path]:
    """Ceph's server for the block, with the keys and its address in the environment; its folder."""
    reached = {**KEYS, "AWS_ENDPOINT_URL": f"http://{CEPH}"}
    with ceph_server(lab.folder / "ceph") as folder, patch.dict(os.environ, reached):
        yield folder


def start(lab: Lab, uri: str, *words: str, **kwargs: Any) -> Run:
    """Start the run whose study is URI/mine; the driver's working copy is not the workers'."""
    node = drivers_node(lab)
    node.mkdir(exist_ok=True)
    return lab.start("mine", "--storage", uri, *words, env={"TMPDIR": str(node)}, **kwargs)


def drivers_node(lab: Lab) -> Path:
    """The driver's folder of temporary files, with too long a name for Ray, whose workers therefore have another."""
    return lab.folder / ("driver" * 15)


def kept(uri: str) -> dict[str, bytes]:
    """The tables as they are in the bucket."""
    return {name: Bucket(f"{uri}/mine").read(name) for name in TABLES}


def erase_copies(lab: Lab, uri: str) -> None:
    """Let all nodes be new ones."""
    for folder in (COPIES / digest(f"{uri}/mine".encode()), drivers_node(lab)):
        shutil.rmtree(folder, ignore_errors=True)


def kill_all(lab: Lab, count: int) -> str:
    """SIGKILL the driver, at times a worker before it, at random instants; new nodes for the next run; same bytes."""
    reference = lab.reference()
    with ceph(lab):
        uri, log = new_uri(), lab.folder / f"bucket-deaths-{count}.log"
        chaos, kills, workers = {"log": str(log), "slow": 0.4}, 0, 0
        while True:
            run = start(lab, uri, "--max-failures", str(count + 3), chaos=chaos)
            if kills >= count:
                break
            if lab.random.random() < 0.8:  # else while it starts
                wait_for_saves(run, log)
            if kills % 2 == 0:
                workers += killed_worker(lab, run)
            kills += run_is_killed(run, time.monotonic() - run.started + lab.random.uniform(0, 4))
            run.clear()
            erase_copies(lab, uri)
        assert run.wait().code == 0, run.stderr[-3000:]
        run.clear()
        assert kept(uri) == tables(reference)
    again = check_work(log, (kills + workers) * AT_ONCE * lab.in_step())
    return f"{kills} drivers and {workers} workers killed, copies erased; same bytes; {again} epochs begun again"


def wait_for_saves(run: Run, log: Path) -> None:
    """Wait until a worker has kept another epoch, or the run ends."""
    before, until = saves(log), time.monotonic() + 120
    while saves(log) == before and run.code is None and time.monotonic() < until:
        time.sleep(0.05)


def saves(log: Path) -> int:
    """How many epochs were kept so far."""
    return log.read_text().count("saved ") if log.exists() else 0


def killed_worker(lab: Lab, run: Run) -> bool:
    """Kill one of the run's workers, unless the run ends before it has any."""
    until = time.monotonic() + 60
    while time.monotonic() < until and run.code is None:
        if pids := run.workers():
            time.sleep(lab.random.uniform(0, 2))
            kill(lab.random.choice(pids))
            return True
        time.sleep(0.1)
    return False


def kill_server(lab: Lab, count: int) -> str:
    """Kill the server in the middle of writes, for good, which the run says as it ends; then for 20 s: it completes."""
    reference = lab.reference()
    with ceph(lab) as folder:
        for _ in range(count):
            uri = new_uri()
            line = gone_for_good(lab, folder, uri)
            run = start(lab, uri, chaos={"slow": 0.4})
            wait_for_epochs(run, uri)
            time.sleep(lab.random.uniform(0, 3))
            subprocess.run([CEPH_UP, folder, "kill"], check=True)
            time.sleep(20)
            assert run.code is None, run.stderr[-3000:]
            subprocess.run([CEPH_UP, folder], check=True, capture_output=True)
            assert run.wait().code == 0, run.stderr[-3000:]
            run.clear()
            assert kept(uri) == tables(reference)
    return f"{count} kills, gone for good: `{line}`; gone on with, another and back after 20 s: same bytes"


def gone_for_good(lab: Lab, folder: Path, uri: str) -> str:
    """Kill the server for longer than a run has patience, then start it again; the line that the run ends with."""
    run = start(lab, uri, chaos={"slow": 0.4, "patience": 5})
    wait_for_epochs(run, uri)
    subprocess.run([CEPH_UP, folder, "kill"], check=True)
    run.wait(90)
    run.clear()
    line = run.stderr.splitlines()[-1]
    assert run.code == 1 and "Traceback" not in run.stderr, run.stderr[-3000:]
    assert f"no answer from http://{CEPH} in 5 s" in line and "run the same command again" in line, line
    subprocess.run([CEPH_UP, folder], check=True, capture_output=True)
    return line


def wait_for_epochs(run: Run, uri: str) -> None:
    """Wait until one more epoch is in the bucket."""
    bucket = Bucket(f"{uri}/mine")
    before = len(bucket.list("trainings"))
    run.wait_for(lambda: len(bucket.list("trainings")) > before)


def two_drivers(lab: Lab, count: int) -> str:
    """Start two drivers at once; stop the one that holds until another has taken over, and wake it."""
    reference = lab.reference()
    with ceph(lab):
        for _ in range(count):
            uri, chaos = new_uri(), {"slow": 0.4, "stale": 8}
            runs = [start(lab, uri, chaos=chaos), start(lab, uri, chaos=chaos)]
            while all(run.code is None for run in runs):
                time.sleep(0.02)
            refused, holder = sorted(runs, key=lambda run: run.code is None)
            assert refused.code == 2 and refused.stderr.count("\n") == 1, refused.stderr
            assert f"is in use by process {holder.process.pid} on " in refused.stderr, refused.stderr
            wait_for_epochs(holder, uri)
            for pid in holder.processes():
                kill(pid, signal.SIGSTOP)
            early = start(lab, uri, chaos=chaos).wait()
            assert early.code == 2 and "if it has died, for " in early.stderr, early.stderr
            time.sleep(8)
            successor = start(lab, uri, chaos=chaos)
            wait_for_lease(successor, uri)
            for pid in holder.processes():
                kill(pid, signal.SIGCONT)
            assert holder.wait(60).code == 2, holder.stderr[-3000:]
            told = holder.stderr.splitlines()[-1]
            assert f"another run took study mine over (process {successor.process.pid} on " in told, told
            assert successor.wait().code == 0, successor.stderr[-3000:]
            for run in (holder, successor):
                run.clear()
            assert kept(uri) == tables(reference)
    return f"{count} pairs: one held, one was refused; the one that was stopped wrote nothing more: same bytes"


def wait_for_lease(run: Run, uri: str) -> None:
    """Wait until the run holds the study."""
    bucket, pid = Bucket(f"{uri}/mine"), f'"pid": {run.process.pid},'.encode()
    run.wait_for(lambda: pid in bucket.read(bucket.list("lease")[-1].name))
