"""One driver at a time in a bucket's study: a chain of numbered objects, each made by whoever was first.

There is no lock in an object store, but of two that create an object of one name, one succeeds. The holder makes the
next link of the chain every few seconds; the newest link says who holds the study, and its time, by the store's own
clock, since when nothing was heard of them. To take the study over is to make the next link: then the next one that the
old holder wants to make is there already. What a holder writes bears the number of its first link: the highest counts.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from tune_mnist.shell.about import without_password
from tune_mnist.spec.errors import UserError
from tune_mnist.study.heartbeat import STALE_SECONDS
from tune_mnist.study.lock import Holder
from tune_mnist.study.storage.bucket.objects import Bucket
from tune_mnist.study.storage.bucket.problems import BucketError, NotThereError

BEAT_SECONDS = 20.0
SURE_SECONDS = 45.0
"""How long a link vouches to its maker that nobody has taken the study over."""
KEPT_LINKS = 200
"""Of an hour: a holder that slept for longer looks for higher numbers before it believes in a link of its own."""
FOLDER = "lease"


@dataclass(frozen=True)
class Link:
    """What an object of the chain says."""

    host: str
    pid: int
    command: str
    process: str
    """Tells the process from all others, also of a later start of the host: what `_process` says of it."""
    first: int
    """The number of the holder's first link."""
    word: str
    """A word that nobody else writes."""
    released: bool = False
    """Whether the holder has let go."""

    def holder(self, age_seconds: float) -> Holder:
        """The holder, last heard of so long ago."""
        return Holder(self.host, self.pid, self.command, age_seconds)

    def has_died(self) -> bool:
        """Whether the process is known to have died: it was of this host, since its last start, and is no more."""
        here = _process(self.pid)
        return here.place == _place(self.process) and here.text != self.process


class Newest(NamedTuple):
    """The newest link of a chain and its number."""

    number: int
    link: Link
    modified: datetime


class Clocks(NamedTuple):
    """Seconds of two clocks."""

    unset: float
    """Of one that nobody sets, but that a machine's sleep may stop."""
    wall: float


class Lease:
    """A study's chain in its bucket, and this process's place in it."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self.bucket, self.name = bucket, name
        self.first = 0
        """The number of this holder's first link; 0 if it holds nothing."""
        self._number = self._links = 0
        self._sure_until = Clocks(-math.inf, -math.inf)
        self._problem: UserError | None = None
        self._beating = threading.Lock()

    def newest(self) -> Newest | None:
        """The newest link, whether or not the store's listing is the latest; None if there is none."""
        numbers = [int(each.name.rpartition("/")[2]) for each in self.bucket.list(FOLDER)]
        number, self._links = max(numbers, default=0), len(numbers)
        found = self._read(number) if number else None
        while (link := self._read(number + 1)) is not None:
            number, found = number + 1, link
        return Newest(number, found, self.bucket.modified(self._object(number))) if found else None

    def refuse_if_held(self) -> None:
        """Raise what `hold` would if another run holds the study; by this machine's clock, and writes nothing."""
        newest = self.newest()
        if newest is not None and self.lives(newest, datetime.now(timezone.utc)):
            raise self._in_use(newest, datetime.now(timezone.utc))

    def lives(self, newest: Newest, now: datetime) -> bool:
        """Whether the maker of a link is to be believed alive at a time of the store's."""
        link, age_seconds = newest.link, (now - newest.modified).total_seconds()
        return not link.released and age_seconds < STALE_SECONDS and not link.has_died()

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the study for the block.

        Raises:
            UserError: another run holds it; the message says which.
        """
        newest = self.newest()
        now = self._store_time() if newest and not newest.link.released else datetime.now(timezone.utc)
        if newest is not None and self.lives(newest, now):
            raise self._in_use(newest, now)
        self._number = self.first = newest.number + 1 if newest else 1
        if not self._make_link():
            self.first = 0
            found = self.newest()
            raise self._in_use(found, self._store_time()) if found else BucketError(
                f"study {self.name} was taken by another run just now: run the same command again"
            )
        if self._links > 2 * KEPT_LINKS:  # of many short runs
            self._drop_old()
        over = threading.Event()
        beating = threading.Thread(target=self._beat, args=[over], name="study-lease", daemon=True)
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()
            self._release()

    def check(self) -> None:
        """Raise `UserError` if this process may hold the study no more; the store is asked only where that is unsure.

        Raises:
            UserError: another run has taken it over.
            NoAnswerError: the store does not answer for so long that one may have.
        """
        if self.first and not self._problem and self._unsure():
            self._extend()
        if self._problem is not None:
            raise self._problem

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(BEAT_SECONDS) and self._problem is None:
            with contextlib.suppress(UserError):  # which `_problem` has
                self._extend()

    def _extend(self) -> None:
        """Make the next link, or take note why that is not to be."""
        with self._beating:
            if self._problem is not None:
                return
            self._number += 1
            try:
                held = self._make_link()
            except UserError as problem:
                self._problem = problem
                raise
            if not held:
                self._problem = self._taken_over()
                raise self._problem
            if self._number % KEPT_LINKS == 0:
                self._drop_old()

    def _drop_old(self) -> None:
        oldest = self._object(max(0, self._number - KEPT_LINKS))
        self.bucket.delete(link.name for link in self.bucket.list(FOLDER) if link.name < oldest)

    def _make_link(self, *, released: bool = False) -> bool:
        """Make the link of `_number`; whether that was ours to make."""
        unsure, began = self._number > self.first and self._unsure(), _clocks()
        link = Link(
            socket.gethostname(), os.getpid(), " ".join(map(without_password, sys.argv)), _process(os.getpid()).text,
            self.first, secrets.token_hex(8), released,
        )
        made = self.bucket.create(self._object(self._number), json.dumps(asdict(link)).encode())
        if made and unsure:  # for so long, perhaps, that the link of whoever took over is gone again
            newest = self.newest()
            made = newest is not None and newest.link.first <= self.first
        if made:
            self._sure_until = Clocks(*(seconds + SURE_SECONDS for seconds in began))
        return made

    def _unsure(self) -> bool:
        """Whether the newest link of ours is so old that another run may have taken the study over."""
        return any(now > until for now, until in zip(_clocks(), self._sure_until, strict=True))

    def _release(self) -> None:
        if self._problem is None:
            self._number += 1
            with contextlib.suppress(UserError):  # the next run waits for a minute then
                self._make_link(released=True)
        self.first = 0

    def _store_time(self) -> datetime:
        """What time it is by the store's clock."""
        probe = f"probe/{secrets.token_hex(8)}"
        self.bucket.write(probe, b"what time is it?")
        try:
            return self.bucket.modified(probe)
        finally:
            self.bucket.delete([probe])

    def _in_use(self, newest: Newest, now: datetime) -> UserError:
        rest = STALE_SECONDS - (now - newest.modified).total_seconds()
        wait = f"wait for it (if it has died, for {max(1, math.ceil(rest))} s)"
        holder = newest.link.holder(0)
        return UserError(f"study {self.name} is in use by {holder}: {wait} or stop it, or choose another --name")

    def _taken_over(self) -> UserError:
        newest = self.newest()
        who = f" ({newest.link.holder(0)})" if newest else ""
        return UserError(f"another run took study {self.name} over{who}: it goes on there")

    def _read(self, number: int) -> Link | None:
        try:
            return Link(**json.loads(self.bucket.read(self._object(number))))
        except NotThereError:
            return None
        except (ValueError, TypeError):
            raise BucketError(
                f"{self.bucket.uri}/{self._object(number)} is damaged or of another version: see who runs study "
                f"{self.name}, then delete it"
            ) from None

    @staticmethod
    def _object(number: int) -> str:
        return f"{FOLDER}/{number:08}"


def _clocks() -> Clocks:
    return Clocks(time.monotonic(), time.time())


class _Process(NamedTuple):
    text: str
    place: str


def _process(pid: int) -> _Process:
    """What tells a process of this host from all others, dead or alive, as far as the system says."""
    try:
        # The 22nd field, 20 after the command's name, which may hold anything: ticks since the start of the host.
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = "none"
    return _Process(f"{_host()} {started}", _host())


def _place(process: str) -> str:
    """Where, and since which start of the host, a process ran."""
    return process.rpartition(" ")[0]


@functools.cache
def _host() -> str:
    """This host since its start, and the container: both, where process ids are told apart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {secrets.token_hex(8)}"  # which no other process has: nobody is known as dead
