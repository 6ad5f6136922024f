"""One driver at a time in a study, also across hosts that share its folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tune_mnist.config import UserError

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0


@contextlib.contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Hold the study in `folder` for this process.

    On one host the kernel's file lock decides and ends with its holder, however that dies. A holder
    on another host, whose file lock may not be visible here, is believed alive while its heartbeat
    (the lock file's modification time) is younger than a minute.

    Raises:
        UserError: another run holds the study; the message says which.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _held(folder, descriptor) from None
        if _lives_elsewhere(descriptor):
            raise _held(folder, descriptor)
        _write(descriptor, {"host": socket.gethostname(), "pid": os.getpid(), "command": " ".join(sys.argv)})
        try:
            with _heartbeat(descriptor):
                yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(folder: Path) -> dict[str, object] | None:
    """Who holds, or died holding, the study in `folder`: host, pid, command, heartbeat_seconds; None if nobody."""
    try:
        with open(folder / "lock", "rb") as file:
            told = _read(file.fileno())
            return told and {**told, "heartbeat_seconds": time.time() - os.fstat(file.fileno()).st_mtime}
    except FileNotFoundError:
        return None


def _held(folder: Path, descriptor: int) -> UserError:
    told = _read(descriptor)
    for _ in range(20):  # a holder that has only just taken the lock is about to say its name
        if told:
            break
        time.sleep(0.02)
        told = _read(descriptor)
    told = told or {"host": "an unknown host", "pid": "unknown", "command": "unknown"}
    return UserError(
        f"study {folder.name} is in use by process {told['pid']} on {told['host']} ({told['command']}): "
        "wait for it or stop it, or choose another --name"
    )


def _lives_elsewhere(descriptor: int) -> bool:
    told = _read(descriptor)
    age_seconds = time.time() - os.fstat(descriptor).st_mtime
    return bool(told) and told["host"] != socket.gethostname() and age_seconds < STALE_SECONDS


def _read(descriptor: int) -> dict[str, object]:
    try:
        told = json.loads(os.pread(descriptor, 65536, 0))
        return {key: told[key] for key in ("host", "pid", "command")}
    except (ValueError, KeyError, TypeError):
        return {}


def _write(descriptor: int, content: dict[str, object]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(content).encode(), 0)


@contextlib.contextmanager
def _heartbeat(descriptor: int) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            # The folder may have gone; the run notices that when it writes.
            with contextlib.suppress(OSError):
                os.utime(descriptor)

    thread = threading.Thread(target=beat, name="study-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
