"""A study's trainings in its bucket: written, brought to this node, and dropped, an object an epoch."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from tune_mnist.spec.errors import Damaged
from tune_mnist.study.files import Corrupt, checksum, read_json
from tune_mnist.study.storage.bucket.archive import (
    HEAD_BYTES,
    epoch_of,
    has_state,
    is_state,
    name_of,
    pack,
    packed_files,
    size_of_rows,
    unpack,
)
from tune_mnist.study.storage.bucket.objects import Bucket, Object
from tune_mnist.study.storage.bucket.problems import NotThereError
from tune_mnist.study.storage.bucket.scratch import TRAININGS, write_copy

SHARED_SECONDS = 1.0
"""Epochs of a training that follow each other sooner than this share an object."""
LOOKS = 2
"""How often to look at what is not as it should be: a byte may have changed on the way, an object been superseded."""
KEPT_ARCHIVES, MOST_STALE = 2, 8
"""How many of a training's newest are kept while it goes on; of how many others it takes to delete them."""


def training_prefix(key: str) -> str:
    """Below which names a training's objects lie."""
    return f"{TRAININGS}/{key}/"


class Archives:
    """The objects of a study's trainings, as far as this process has seen or written them."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.objects: dict[str, dict[str, Object | None]] = {}
        """By training's key, its objects' names, and what the listing said of those that it showed."""
        self.rows: dict[str, int] = {}
        """By training's key, for how many epochs this node is known to have the rows."""
        self.kept_at: dict[str, float] = {}
        """When each training's last object was written, or the training was begun, here."""

    def see(self, listing: Iterable[Object]) -> None:
        """Take note of what a listing of the study, or of some trainings, shows of these."""
        seen: dict[str, dict[str, Object | None]] = {}
        for each in listing:
            folder, _, rest = each.name.partition("/")
            if folder == TRAININGS:
                seen.setdefault(rest.partition("/")[0], {})[each.name] = each
        self.objects |= seen

    def newest_first(self, key: str) -> list[tuple[int, str]]:
        """The epochs and names of a training's objects, the newest first."""
        found = [(epoch_of(name), name) for name in self.objects.get(key, {})]
        return sorted(((epoch, name) for epoch, name in found if epoch is not None), reverse=True)

    def newest_epoch(self, key: str) -> int:
        """The epoch of a training's newest object; 0 if there is none."""
        return next((epoch for epoch, _ in self.newest_first(key)), 0)

    def begin(self, folder: Path, until: int | None) -> None:
        """Bring a training's rows and its newest state, not after epoch `until`, unless they are here."""
        key = folder.name
        self.kept_at[key] = time.monotonic()
        for _ in range(LOOKS):
            self.objects.pop(key, None)
            self.see(self.bucket.list(training_prefix(key)))
            self.rows[key] = here = epochs_here(folder)
            if until is None and here > self.newest_epoch(key) and has_state(folder, here):
                self.write(folder, here, ())  # what a killed worker of this node had not kept yet
            with contextlib.suppress(NotThereError):  # a worker that a killed driver left has written a newer one
                return self._bring_state(folder, until)

    def _bring_state(self, folder: Path, until: int | None) -> None:
        for epoch, name in self.newest_first(folder.name):
            if until is not None and epoch > until:
                continue
            if epoch <= self.rows[folder.name] and has_state(folder, epoch):
                return
            files = self._whole(name)
            if files is not None:
                self._copy(folder, epoch, files)
                return

    def write(self, folder: Path, epoch: int, kept: Collection[int], *, at_once: bool = True) -> bool:
        """Write a training's object of an epoch, unless it may wait for the next; drop old ones. Whether it did."""
        key = folder.name
        if not at_once and time.monotonic() - self.kept_at.get(key, 0.0) < SHARED_SECONDS:
            return False
        data = pack(packed_files(folder, epoch))
        name = f"{training_prefix(key)}{name_of(epoch, data)}"
        self.bucket.write(name, data)
        self.objects.setdefault(key, {})[name] = None
        self.rows[key], self.kept_at[key] = epoch, time.monotonic()
        stale = self._stale(key, KEPT_ARCHIVES, kept)
        if len(stale) >= MOST_STALE:
            self.drop(key, stale)
        return True

    def done(self, folder: Path, kept: Collection[int]) -> list[str]:
        """The names of what a training that is done needs no more: all but its newest object and those of `kept`."""
        failure = f"{training_prefix(folder.name)}failure.json"
        failed = [failure] if failure in self.objects.get(folder.name, {}) else []
        return self._stale(folder.name, 1, kept) + failed

    def drop(self, key: str, names: Iterable[str]) -> None:
        """Delete some of a training's objects."""
        doomed = list(names)
        self.bucket.delete(doomed)
        for name in doomed:
            self.objects.get(key, {}).pop(name, None)

    def bring_rows(self, folder: Path) -> None:
        """Bring a training's rows, if the last listing has more of them than this node."""
        key = folder.name
        here = self.rows.get(key, 0)
        for epoch, name in self.newest_first(key):
            here = here if epoch <= here else epochs_here(folder)  # workers of this node may have written since
            if epoch <= here:
                break
            files = self._rows(name)
            if files is not None:
                self._copy(folder, epoch, files)
                seen = self.objects[key][name]
                if seen is not None:
                    for file in files:
                        os.utime(folder / file, (seen.modified.timestamp(),) * 2)
                return
        self.rows[key] = here

    def problems(self, key: str) -> Iterator[str]:
        """What of a training's objects does not match its checksum, one line each."""
        for _, name in self.newest_first(key):
            with contextlib.suppress(NotThereError):  # superseded just now
                if self._whole(name, warn=False) is None:
                    yield f"{name} does not match its checksum"

    def _whole(self, name: str, *, warn: bool = True) -> dict[str, bytes] | None:
        """An object's files, the state among them; None, with a warning, if they are not as they were written."""
        for _ in range(LOOKS):
            data = self.bucket.read(name)
            if name.endswith(f"-{checksum(data)}"):
                return unpack(data)
        if warn:
            self._warn(name)
        return None

    def _rows(self, name: str) -> dict[str, bytes] | None:
        """An object's files without the state, from its first bytes; None, with a warning, if they are damaged."""
        for _ in range(LOOKS):
            try:
                data = self.bucket.read(name, HEAD_BYTES)
                size = size_of_rows(data)
                files = unpack(data if size <= len(data) else self.bucket.read(name, size))
                return {file: content for file, content in files.items() if not is_state(file)}
            except NotThereError:  # superseded just now
                return None
            except Corrupt:
                continue
        self._warn(name)
        return None

    def _copy(self, folder: Path, epoch: int, files: dict[str, bytes]) -> None:
        """Write files to a training's folder, but rows only where it has not got more of them."""
        has_more = epochs_here(folder) > epoch
        for name, data in files.items():
            if is_state(name) or not has_more:
                write_copy(folder / name, data)
        self.rows[folder.name] = max(epoch, self.rows.get(folder.name, 0))

    def _stale(self, key: str, newest: int, kept: Collection[int]) -> list[str]:
        return [name for epoch, name in self.newest_first(key)[newest:] if epoch not in kept]

    def _warn(self, name: str) -> None:
        problem = f"{self.bucket.uri}/{name} does not match its checksum"
        warnings.warn(f"{problem}: what is older is used, and nothing deleted", Damaged, stacklevel=3)


def epochs_here(folder: Path) -> int:
    """For how many epochs a training's folder has rows."""
    try:
        return len(read_json(folder / "history.json")["epochs"])
    except (OSError, Corrupt):
        return 0
