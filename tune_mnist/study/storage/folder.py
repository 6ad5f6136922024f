"""A study kept in a folder, which is where its files are written in the first place."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tune_mnist.spec.errors import UserError
from tune_mnist.study.files import make_folder, set_aside, write_atomic, writing
from tune_mnist.study.lock import Holder, read_holder, refuse_if_held, study_lock
from tune_mnist.study.ownership import refuse_foreign_study
from tune_mnist.study.storage.base import Storage

PROBE_BYTES = 2**20  # about what an epoch of a small model writes
GIB = 2**30
LEAST_DISK_GIB = 2.0


@dataclass(frozen=True)
class FolderProbe:
    """A file with a word that nobody knows, and beside it the answers of other machines."""

    path: Path

    def problem_on(self, node: str) -> str | None:
        try:
            write_atomic(self._answer(node), self.path.read_bytes())
        except FileNotFoundError:
            return f"does not see {self.path.parent}"
        except OSError as error:  # which a WriteError is, too
            return f"cannot use {self.path.parent} ({error.strerror})"
        return None

    def is_answered(self, node: str) -> bool:
        return self._answer(node).exists()

    def unseen(self) -> str:
        return f"writes to a {self.path.parent} of its own"

    def _answer(self, node: str) -> Path:
        return self.path.with_name(f"{self.path.stem}-{node}.tmp")


@dataclass
class FolderStorage(Storage):
    """Keeps a study in its folder: there is nothing to do but to lock it."""

    is_kept_in_folder = True
    place: Path
    """The study's folder."""
    dead_since_ns: int | None = field(default=None, repr=False, compare=False)
    """When the lock last moved, if its holder was then seen not to live."""

    @property
    def folder(self) -> Path:
        return self.place

    @property
    def path(self) -> Path:
        return self.place

    def path_of(self, path: Path) -> Path:
        return path

    def refuse(self) -> None:
        refuse_foreign_study(self.folder)
        refuse_if_held(self.folder)

    def refuse_if_held(self) -> None:
        refuse_if_held(self.folder)

    @contextlib.contextmanager
    def hold(self, fresh: bool = False) -> Iterator[Path | None]:
        refuse_foreign_study(self.folder)
        aside = None
        if fresh and self.folder.exists():
            with study_lock(self.folder), writing(self.folder):
                aside = set_aside(self.folder)
        make_folder(self.folder, parents=True)
        with study_lock(self.folder):
            yield aside

    def readiness(self) -> str:
        nearest = next(parent for parent in (self.folder, *self.folder.parents) if parent.exists())
        probe = nearest / ".doctor.tmp"
        try:
            write_atomic(probe, b"probe")
        except UserError as problem:
            raise UserError(f"{problem}: choose another --storage") from None
        probe.unlink()
        free = shutil.disk_usage(nearest).free / GIB
        if free < LEAST_DISK_GIB:
            least = f"the {LEAST_DISK_GIB:g} GiB that a study may take"
            raise UserError(f"{self.folder} has {free:.1f} GiB free of {least}: choose another --storage")
        return f"{self.folder} can be written to, {free:.0f} GiB free"

    @contextlib.contextmanager
    def probe(self) -> Iterator[FolderProbe]:
        make_folder(self.folder, parents=True)
        nonce = secrets.token_hex(8)  # a name that no file system has remembered to be absent
        probe = FolderProbe(self.folder / f".probe-{nonce}.tmp")
        write_atomic(probe.path, nonce.encode())
        try:
            yield probe
        finally:
            for path in self.folder.glob(f".probe-{nonce}*.tmp"):
                path.unlink(missing_ok=True)

    def check_held(self) -> None:
        pass  # the kernel's lock ends with this process

    def check_writable(self) -> None:
        probe = self.folder / ".probe.tmp"
        write_atomic(probe, bytes(PROBE_BYTES))
        probe.unlink(missing_ok=True)

    def holder(self) -> Holder | None:
        return read_holder(self.folder)

    def lives(self, holder: Holder) -> bool:
        try:
            moved_ns = (self.folder / "lock").stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if moved_ns != self.dead_since_ns:
            self.dead_since_ns = None if holder.lives(self.folder) else moved_ns
        return self.dead_since_ns is None

    def refresh(self) -> None:
        pass

    def refresh_all(self) -> None:
        pass

    def damaged(self) -> Iterable[str]:
        return ()

    def keep(self, paths: Iterable[Path]) -> None:
        pass

    def mirror(self, folder: Path) -> None:
        pass

    def bring(self, folder: Path) -> None:
        pass

    def begin_training(self, folder: Path, until: int | None) -> None:
        pass

    def keep_training(self, folder: Path, epoch: int, kept: Collection[int], *, at_once: bool) -> bool:
        return True

    def keep_states(self, folder: Path, kept: Collection[int]) -> None:
        pass

    def older_states(self, folder: Path) -> bool:
        return False

    def saved(self, key: str, epoch: int) -> None:
        pass
