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
from dataclasses import dataclass
from pathlib import Path

from tune_mnist.shell.about import without_password
from tune_mnist.spec.errors import UserError
from tune_mnist.study.files import writing

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0


@dataclass(frozen=True)
class Holder:
    """A run that holds a study, or died holding it, as the study's lock file has it."""

    host: str
    pid: int
    command: str
    heartbeat_seconds: float
    """Seconds since its last sign of life."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command})"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this host."""
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool:
        """Whether its heart beats and, if it is of this host, its process exists."""
        if self.heartbeat_seconds > STALE_SECONDS:
            return False
        if not self.is_here:
            return True
        try:
            os.kill(int(self.pid), 0)
        except PermissionError:
            return True
        except (ProcessLookupError, ValueError, TypeError):
            return False
        return True


@contextlib.contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Hold the study in the existing `folder` for this process; refused, it changes nothing.

    On one host the kernel's file lock decides and ends with its holder, however that dies. A holder
    on another host, whose file lock may not be visible here, is believed alive while its heartbeat
    (the lock file's modification time) is younger than a minute.

    Raises:
        UserError: another run holds the study (the message says which), or the folder cannot be written to.
    """
    with writing(folder / "lock"):
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(folder, descriptor, fcntl.LOCK_EX)
        if not _is_at(folder / "lock", descriptor):
            raise UserError(f"study {folder.name} was moved by another run just now: run the same command again")
        command = " ".join(map(without_password, sys.argv))
        os.ftruncate(descriptor, 0)
        content = {"host": socket.gethostname(), "pid": os.getpid(), "command": command}
        os.pwrite(descriptor, json.dumps(content).encode(), 0)
        try:
            with _heartbeat(descriptor):
                yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def refuse_if_held(folder: Path) -> None:
    """Raise what `study_lock` would if another run holds the study now; writes nothing, so it may come first."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return
    try:
        _take(folder, descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _take(folder: Path, descriptor: int, kind: int) -> None:
    """Take the file lock; `UserError` if another run holds the study, on this host or another."""
    taken = _lock(descriptor, kind)
    holder = _holder(descriptor)
    if taken and (holder is None or holder.is_here or not holder.lives):
        return
    for _ in range(20):  # a holder that has only just taken the lock is about to say its name
        if holder is None:
            time.sleep(0.02)
            holder = _holder(descriptor)
    name = holder or "process unknown on an unknown host (unknown)"
    raise UserError(f"study {folder.name} is in use by {name}: wait for it or stop it, or choose another --name")


def _lock(descriptor: int, kind: int) -> bool:
    """Take the file lock if it is free; wait a moment for one that another process only looks in with."""
    for _ in range(10):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
        except OSError as error:
            raise UserError(f"cannot lock the study: {error.strerror}: choose a --storage with file locks") from None
    return False


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether `path` is still the open file: --fresh may have moved it aside meanwhile."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def read_holder(folder: Path) -> Holder | None:
    """Who holds, or died holding, the study in `folder`; None if nobody."""
    try:
        with open(folder / "lock", "rb") as file:
            return _holder(file.fileno())
    except FileNotFoundError:
        return None


def _holder(descriptor: int) -> Holder | None:
    """The holder that an open lock file names; None if it is empty or damaged."""
    try:
        content = json.loads(os.pread(descriptor, 65536, 0))
        age_seconds = time.time() - os.fstat(descriptor).st_mtime
        return Holder(content["host"], content["pid"], content["command"], age_seconds)
    except (ValueError, KeyError, TypeError):
        return None


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
