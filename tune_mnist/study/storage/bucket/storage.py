"""A study kept in a bucket: an object an epoch, a lease, and on each node a working copy in a folder."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.places import shown
from tune_mnist.study.layout import training_path
from tune_mnist.study.lock import Holder
from tune_mnist.study.storage.base import Storage
from tune_mnist.study.storage.bucket import lease, versions
from tune_mnist.study.storage.bucket.access import PROBES, BucketProbe, check_access
from tune_mnist.study.storage.bucket.lease import Lease, Newest
from tune_mnist.study.storage.bucket.objects import PATIENCE_SECONDS, Bucket, Object
from tune_mnist.study.storage.bucket.problems import BucketError, NotThereError
from tune_mnist.study.storage.bucket.scratch import TRAININGS, reader_scratch, run_scratch, write_copy
from tune_mnist.study.storage.bucket.trainings import Archives, epochs_here, training_prefix
from tune_mnist.study.storage.bucket.versions import VERSIONED, Versions

T = TypeVar("T")

AT_ONCE = 16  # requests
OURS = {TRAININGS, versions.FOLDER, lease.FOLDER, PROBES}
"""What is made first in a study: any of these marks it as ours."""
RETRAINED = "retrain.json"


class BucketStorage(Storage):
    """Keeps a study under a bucket's URI.

    Pickled by a driver, it is its URI and the number of the driver's lease: on each node the working copy is another.
    """

    is_kept_in_folder = False

    def __init__(self, uri: str, generation: int = 0) -> None:
        self.bucket, self.generation = Bucket(uri), generation
        self.lease = Lease(self.bucket, self.path.name)
        self.archives, self.versions = Archives(self.bucket), Versions(self.bucket)
        self.tags: dict[str, str] = {}
        """The tag of each object that was copied here as it is."""
        self.mirrored: dict[str, tuple[int, int]] = {}
        """The time and size of each file that was mirrored, by its object's name."""
        self.told: dict[str, int] = {}
        """The last epoch that each training was told to have kept, by its key."""
        self._folder: Path | None = None
        self._newest: Newest | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return BucketStorage, (self.bucket.uri, self.generation)

    @property
    def folder(self) -> Path:
        if self._folder is None and self.generation:
            self._folder = run_scratch(self.bucket.uri, self.generation)
        elif self._folder is None:
            self._folder = reader_scratch()
            try:
                self.refresh()
            except BaseException:
                self._folder = None  # or what was not read would look like an empty study
                raise
        return self._folder

    @property
    def path(self) -> Path:
        return Path(self.bucket.uri)

    def path_of(self, path: Path) -> Path:
        return self.path / self._name(path)

    def refuse(self) -> None:
        self._refuse_foreign()
        self.lease.refuse_if_held()

    def refuse_if_held(self) -> None:
        self.lease.refuse_if_held()

    @contextlib.contextmanager
    def hold(self, fresh: bool = False) -> Iterator[Path | None]:
        check_access(self.bucket)
        self._refuse_foreign()
        with self.lease.hold():
            self.generation = self.lease.first
            aside = self._set_aside() if fresh else None
            reads_already = self._folder is not None
            if not reads_already:
                self._folder = run_scratch(self.bucket.uri, self.generation)
            try:
                self.refresh()
                self._bring_versions()
                yield aside
            finally:
                if not reads_already:
                    shutil.rmtree(self.folder, ignore_errors=True)
                    self._folder, self.generation = None, 0

    def readiness(self) -> str:
        ahead_seconds = check_access(self.bucket)
        done = "written, read, listed and deleted; conditions honoured"
        return f"{self.bucket.uri}: {done}; clocks {abs(ahead_seconds):.1f} s apart"

    @contextlib.contextmanager
    def probe(self) -> Iterator[BucketProbe]:
        check_access(self.bucket)
        probe = BucketProbe(self.bucket, f"{PROBES}/{secrets.token_hex(8)}")
        self.bucket.write(probe.name, secrets.token_hex(8).encode())
        try:
            yield probe
        finally:
            self.bucket.delete(o.name for o in self.bucket.list(PROBES) if o.name.startswith(probe.name))

    def check_held(self) -> None:
        self.lease.check()

    def check_writable(self) -> None:
        name = f"{PROBES}/{secrets.token_hex(8)}"
        self.bucket.write(name, b"probe")
        self.bucket.delete([name])

    def holder(self) -> Holder | None:
        self._newest = self.lease.newest()
        if self._newest is None or self._newest.link.released:
            return None
        return self._newest.link.holder(time.time() - self._newest.modified.timestamp())

    def lives(self, holder: Holder) -> bool:
        return self._newest is not None and self.lease.lives(self._newest, datetime.now(timezone.utc))

    def refresh(self) -> None:
        self._refresh(lambda name: name in ("results.csv", "best/metrics.json") or name.startswith("models/"))

    def refresh_all(self) -> None:
        self._refresh(lambda name: name.partition("/")[0] not in OURS and "/checkpoints/" not in name)

    def damaged(self) -> Iterable[str]:
        keys = sorted(self.archives.objects)
        for found in _at_once(lambda key: list(self.archives.problems(key)), keys):
            yield from found

    def keep(self, paths: Iterable[Path]) -> None:
        self.check_held()
        _at_once(self._keep, list(paths))

    def mirror(self, folder: Path) -> None:
        self.check_held()
        here = {self._name(path): path for path in self._beside(folder) if path.is_file() and path.name[0] != "."}
        stamps = {name: (path.stat().st_mtime_ns, path.stat().st_size) for name, path in here.items()}
        changed = [name for name in here if self.mirrored.get(name) != stamps[name]]
        _at_once(lambda name: self.bucket.write(name, here[name].read_bytes()), changed)
        known = {name for name in self.mirrored if name.startswith(self._name(folder))}
        self.bucket.delete(known - here.keys())
        self.mirrored = {name: self.mirrored[name] for name in self.mirrored.keys() - known} | stamps

    def bring(self, folder: Path) -> None:
        beside = self._name(folder)
        wanted = [o.name for o in self.bucket.list() if o.name.partition("/")[0].startswith(beside)]
        _at_once(lambda name: write_copy(self.folder / name, self.bucket.read(name)), wanted)
        stats = {name: (self.folder / name).stat() for name in wanted}
        self.mirrored |= {name: (stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()}

    def begin_training(self, folder: Path, until: int | None) -> None:
        self.archives.begin(folder, until)

    def keep_training(self, folder: Path, epoch: int, kept: Collection[int], *, at_once: bool) -> bool:
        return self.archives.write(folder, epoch, kept, at_once=at_once)

    def keep_states(self, folder: Path, kept: Collection[int]) -> None:
        self.archives.drop(folder.name, self.archives.done(folder, kept))

    def older_states(self, folder: Path) -> bool:
        return len(self.archives.newest_first(folder.name)) > 1

    def saved(self, key: str, epoch: int) -> None:
        self.told[key] = max(epoch, self.told.get(key, 0))

    def _name(self, path: Path) -> str:
        """The name of the object that a file of the working copy is; a training's key comes before all of its."""
        first, *inner = path.relative_to(self.folder).parts
        return "/".join([first, *inner[-2:]] if first == TRAININGS else [first, *inner])

    def _path(self, name: str) -> Path:
        """The file of the working copy that an object is."""
        first, *inner = name.split("/")
        return self._training(inner[0]) / inner[1] if first == TRAININGS else self.folder / name

    def _keep(self, path: Path) -> None:
        name = self._name(path)
        if name in VERSIONED:
            self.versions.write(name, path.read_bytes(), self.generation)
        else:
            self.bucket.write(name, path.read_bytes())

    def _beside(self, folder: Path) -> Iterable[Path]:
        return folder.parent.glob(f"{folder.name}*/**/*")

    def _refuse_foreign(self) -> None:
        listing = self.bucket.list()
        ours = any(o.name.partition("/")[0] in OURS or o.name.endswith(f"/{RETRAINED}") for o in listing)
        if listing and not ours:
            raise UserError(f"{self.bucket.uri} is not empty and not a study: choose another --name")

    def _set_aside(self) -> Path | None:
        """Move a study's objects to the first free name beside it; killed meanwhile, this goes on with the next."""
        moved = [o.name for o in self.bucket.list() if o.name.partition("/")[0] not in (lease.FOLDER, PROBES)]
        if not moved:
            return None
        free = (path for number in itertools.count(1) if not _is_study(path := self._aside(number)))
        aside = next(free)
        above = Bucket(shown(self.path.parent))
        # What makes it a study goes last: until then it is this study that is moved on.
        last = [name for name in moved if name.startswith(f"{versions.FOLDER}/")]
        for names in ([name for name in moved if name not in last], last):
            _at_once(lambda name: above.copy(f"{self.path.name}/{name}", f"{aside.name}/{name}"), names)
            self.bucket.delete(names)
        return aside

    def _aside(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.aside-{number}")

    def _refresh(self, wanted: Callable[[str], bool]) -> None:
        """Bring what changed of the study's description, trainings, and of the other files that are `wanted`."""
        listing = self._listing()
        _at_once(self.archives.bring_rows, [self._training(key) for key in self.archives.objects])
        if not self.lease.first:  # else what is here is the newest
            self._bring_versions()
        small = [
            o for o in listing
            if (o.name.startswith(f"{TRAININGS}/") and o.name.endswith(".json")) or wanted(o.name)
        ]
        _at_once(self._copy, [o for o in small if self.tags.get(o.name) != o.tag])

    def _bring_versions(self) -> None:
        for name in self.versions.known:
            newest = self.versions.newest(name) if self.tags.get(name) != self.versions.known[name][-1] else None
            if newest is not None:
                write_copy(self.folder / name, newest.data)
                self.tags[name] = newest.object_name

    def _copy(self, seen: Object) -> None:
        with contextlib.suppress(NotThereError):
            write_copy(self._path(seen.name), self.bucket.read(seen.name))
            self.tags[seen.name] = seen.tag

    def _listing(self) -> list[Object]:
        """The study's objects, once the listing shows every training as far as it was told to be kept."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            listing = self.bucket.list()
            self.archives.see(listing)
            self.versions.see(listing)
            late = [key for key, epoch in self.told.items() if self._seen(key) < epoch]
            if not late:
                return listing
            if time.monotonic() > deadline:
                name = f"{self.bucket.uri}/{training_prefix(late[0])}"
                raise BucketError(
                    f"{name} does not show what was written {PATIENCE_SECONDS:.0f} s ago: wait, then run the same "
                    "command again"
                )
            time.sleep(1)

    def _seen(self, key: str) -> int:
        return max(self.archives.newest_epoch(key), epochs_here(self._training(key)))

    def _training(self, key: str) -> Path:
        return training_path(self.folder / TRAININGS, key)


def _is_study(path: Path) -> bool:
    """Whether the whole description of a study lies there."""
    return any(each.name.startswith(f"{versions.FOLDER}/study.json/") for each in Bucket(shown(path)).list())


def _at_once(do: Callable[[Any], T], each: Collection[Any]) -> list[T]:
    """What `do` returns of each, several at a time."""
    if len(each) < 2:
        return [do(one) for one in each]
    with ThreadPoolExecutor(min(AT_ONCE, len(each))) as beside:
        return list(beside.map(do, each))
