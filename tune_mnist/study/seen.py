"""What was seen of a study's trainings so far, from their files alone, counted as they change."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tune_mnist.spec.training import PREFIX, training_key
from tune_mnist.study.layout import SPLIT_DIGITS
from tune_mnist.study.progress import RunState
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder, TrainingRecord, stopped_early

SETTLED_SECONDS = 2.0
"""How long a folder's time must have stood still: until then it may change and not show it, as clocks have ticks."""


class Stamp(NamedTuple):
    """What changes when a file does."""

    time_ns: int
    size: int


class Stamps(NamedTuple):
    """The stamps of a training's files, None for one that does not exist: they change when its record does."""

    config: Stamp | None
    history: Stamp | None
    timings: Stamp | None
    failure: Stamp | None


class SeenFolder(TrainingFolder):
    """A training's folder that is only looked at: what is damaged counts as missing and stays where it is."""

    def _warn_and_set_aside(self, path: Path, problem: str) -> None:
        pass

    def stamps(self) -> Stamps:
        """The stamps of the training's files as they are now."""
        return Stamps(*(stamp(f"{self.folder}/{name}.json") for name in Stamps._fields))


class FolderTime(NamedTuple):
    """When a folder last changed, since when that is known by our own clock, and whether it has settled."""

    changed_ns: int
    since: float
    settled: bool


class Listing(NamedTuple):
    """The names in a folder, and its time as they were read."""

    time: FolderTime
    names: frozenset[str]


class Open(NamedTuple):
    """A training that has begun, and has not come to its end; its folder's time as its stamps were read."""

    time: FolderTime
    stamps: Stamps
    record: TrainingRecord


class Seen:
    """What was seen of a study's trainings.

    One that has come to its end changes no more as long as the study is asked for nothing else, and one that has not
    begun is there as soon as the folder above it changes. So only those in between are looked at one by one.
    """

    def __init__(
        self, study: Study, asked: Any, on_record: Callable[[TrainingRecord], None], *, over: bool = False
    ) -> None:
        self.asked = asked
        """What the study was asked for."""
        self.on_record = on_record
        self.over = over
        """Whether it is a search whose trials are over."""
        planned, context = study.planned(), study.context()
        self.progress = RunState(planned, f"{PREFIX[context.protocol]}_accuracy")
        self.plans = {training_key(plan.config, context): plan for plan in planned}
        self.counts: Counter[str] = Counter(waiting=len(planned))
        """How many trainings are complete, diverged, failed, stopped early, begun and waiting."""
        self.failures: dict[str, str] = {}
        """The failed trainings' labels and errors, one line each."""
        self.last_saved: float | None = None
        """When an epoch was last saved, seconds since 1970."""
        self.trainings = study.folder / "trainings"
        self.listings: dict[Path, Listing] = {}
        """Of each folder in which trainings' folders lie, its names."""
        self.folders: dict[str, Path] = {}
        """By key, the folder of each training that is counted and no longer waits."""
        self.open: dict[str, Open] = {}
        """By key, those that have not come to their end."""

    def update(self) -> bool:
        """Read what changed; False if something that was counted went away, so that all must be counted anew."""
        before = dict(self.listings)
        parts = [self.trainings / name for name in self._list(self.trainings) if len(name) == SPLIT_DIGITS]
        for folder in dict.fromkeys([self.trainings, *parts, *before]):
            known, names = before[folder].names if folder in before else frozenset(), self._list(folder)
            if any(self.folders.get(key) == folder / key for key in known - names):
                return False
            for key in sorted(names - known):
                if key in self.plans and key not in self.folders:
                    self.folders[key] = folder / key
                    self._read(key)
        return all([self._read(key) for key in list(self.open)])

    def show_running(self, started: float) -> None:
        """Show as running what was begun or saved since `started`, seconds since 1970, and has not ended."""
        running = self.progress.running
        running.clear()
        for _, stamps, record in self.open.values():
            if record.status == "unfinished" and _last_change(stamps) >= started:
                self.progress.start(record.config)
                if record.epochs:
                    running[record.config] = {**record.epochs[-1], **_timing(record, record.epochs[-1]["epoch"])}

    def _list(self, folder: Path) -> frozenset[str]:
        """The names in the folder, read again only if they may have changed."""
        known = self.listings.get(folder)
        now = folder_time(folder, known and known.time)
        if known is not None and is_unchanged(known.time, now):
            return known.names
        try:
            names = frozenset(os.listdir(folder))
        except FileNotFoundError:
            names = frozenset()
        self.listings[folder] = Listing(now, names)
        return names

    def _read(self, key: str) -> bool:
        """Count what is new of a training; False if it has less than what was counted."""
        plan, known = self.plans[key], self.open.get(key)
        now = folder_time(self.folders[key], known and known.time)
        if known is not None and is_unchanged(known.time, now):
            return True  # its files are replaced by renaming, which changes the folder's time
        folder = SeenFolder(self.folders[key])
        stamps = folder.stamps()
        if known is not None and known.stamps == stamps:
            self.open[key] = known._replace(time=now)
            return True
        record = folder.record(plan.config, plan.epochs)
        if self.over:
            record = stopped_early(record)
        self.on_record(record)
        if known is not None and _undone(known.record, record):
            return False
        self._count(key, known, Open(now, stamps, record))
        return True

    def _count(self, key: str, known: Open | None, now: Open) -> None:
        (_, stamps, record), counted = now, len(known.record.epochs) if known else 0
        if rows := record.epochs[counted:]:
            first = rows[0]["epoch"]
            self.progress.read(record.config, rows, [each for each in record.timings if each["epoch"] >= first])
        self.counts[_kind(known.record, known.stamps) if known else "waiting"] -= 1
        self.counts[_kind(record, stamps)] += 1
        if stamps.history is not None:
            self.last_saved = max(self.last_saved or 0.0, stamps.history.time_ns / 1e9)
        if self.failures or record.status == "failed":  # else its name, which takes a while, is not asked for
            label = self.progress.label(record.config)
            self.failures.pop(label, None)
            if record.status == "failed":
                self.failures[label] = str(record.error)
        if record.status != "unfinished":
            self.progress.end(record.config, record.status)
        self.open[key] = now
        if record.status in ("complete", "diverged"):
            del self.open[key]


def _undone(before: TrainingRecord, now: TrainingRecord) -> bool:
    """Whether a training has less than before: rows that were damaged, or a failure that was taken back."""
    return len(now.epochs) < len(before.epochs) or (before.status == "failed" and now.status == "unfinished")


def _timing(record: TrainingRecord, epoch: int) -> dict[str, Any]:
    return next((timing for timing in record.timings if timing["epoch"] == epoch), {})


def _kind(record: TrainingRecord, stamps: Stamps) -> str:
    if record.status != "unfinished":
        return record.status
    return "begun" if any(stamps) else "waiting"


def _last_change(stamps: Stamps) -> float:
    """When a training was begun or last saved an epoch, seconds since 1970; 0 if it was never begun."""
    return max((stamp.time_ns / 1e9 for stamp in (stamps.config, stamps.history) if stamp), default=0.0)


def folder_time(folder: Path, known: FolderTime | None) -> FolderTime:
    """A folder's time now, where it is `known` what it was; a folder that is not there has 0."""
    found, now = stamp(folder), time.monotonic()
    changed_ns = 0 if found is None else found.time_ns
    since = known.since if known is not None and known.changed_ns == changed_ns else now
    return FolderTime(changed_ns, since, now - since > SETTLED_SECONDS)


def is_unchanged(known: FolderTime, now: FolderTime) -> bool:
    """Whether nothing in a folder was added, replaced or removed since its time was `known`."""
    return known.settled and known.changed_ns == now.changed_ns


def stamp(path: Path | str) -> Stamp | None:
    """The stamp of a file or folder; None if there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return Stamp(status.st_mtime_ns, status.st_size)
