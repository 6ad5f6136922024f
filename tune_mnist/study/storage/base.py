"""What a study asks of where it is kept; all else in the study works on files in a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Protocol

from tune_mnist.study.lock import Holder


class Probe(Protocol):
    """Shows whether other machines read and write what this one does. Is pickled to them."""

    def problem_on(self, node: str) -> str | None:
        """On another machine: what goes wrong where it reads what the first wrote, and answers; None if nothing."""

    def is_answered(self, node: str) -> bool:
        """On the first machine: whether that answer is seen."""

    def unseen(self) -> str:
        """What is wrong where the other machine says that it has answered, and no answer is seen."""


class Storage(ABC):
    """Keeps one study. Is pickled to workers, where it means the same study.

    The study's files are written and read in `folder`, and told of here: what a method says of a folder's files is
    done to what is kept, if that is elsewhere.
    """

    is_kept_in_folder: ClassVar[bool]
    """Whether the study is kept in its `folder`; else that is a working copy, which need not outlive the machine."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where this process has the study's files."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """What names the study to users, and opens it again."""

    @abstractmethod
    def path_of(self, path: Path) -> Path:
        """What names to users a file or folder inside `folder`."""

    @abstractmethod
    def refuse(self) -> None:
        """Raise the `UserError` that `hold` would at once, if it would; quick, and writes nothing."""

    @abstractmethod
    def refuse_if_held(self) -> None:
        """Raise `UserError` if another run holds the study; writes nothing."""

    @abstractmethod
    def hold(self, fresh: bool = False) -> AbstractContextManager[Path | None]:
        """Hold the study, one driver at a time, for the block, with its files in `folder`; made if need be.

        With `fresh` an old study is first moved aside, and the block gets its new path. Before it holds the study, it
        changes nothing.

        Raises:
            UserError: another run holds it, it is no study's but not empty, or cannot be written to.
        """

    @abstractmethod
    def readiness(self) -> str:
        """That studies can be kept here, in words for a doctor; `UserError` if they cannot, and why."""

    @abstractmethod
    def probe(self) -> AbstractContextManager[Probe]:
        """For the block, what other machines are asked with whether they read and write here; `UserError` if not."""

    @abstractmethod
    def check_held(self) -> None:
        """Raise `UserError` if this process held the study, and another has taken it over; costs next to nothing."""

    @abstractmethod
    def check_writable(self) -> None:
        """Raise `UserError` if the study cannot be written to."""

    @abstractmethod
    def holder(self) -> Holder | None:
        """Who holds, or died holding, the study; None if nobody."""

    @abstractmethod
    def lives(self, holder: Holder) -> bool:
        """Whether the holder, just read, is seen to live; one that was seen not to is not looked at for long again."""

    @abstractmethod
    def refresh(self) -> None:
        """Let `folder` have what is known by now of the study and each of its trainings, but for states."""

    @abstractmethod
    def refresh_all(self) -> None:
        """Let `folder` have every file of the study, but for states and checkpoints."""

    @abstractmethod
    def damaged(self) -> Iterable[str]:
        """What of what is kept does not match its checksum and cannot be seen in `folder`, one line each."""

    @abstractmethod
    def keep(self, paths: Iterable[Path]) -> None:
        """Keep files that were written in `folder`; `UserError` if another run has taken the study over."""

    @abstractmethod
    def mirror(self, folder: Path) -> None:
        """Keep all files that lie now in a folder of the study's, or in ones beside it whose names begin like its."""

    @abstractmethod
    def bring(self, folder: Path) -> None:
        """Let a folder of the study's, and those beside it whose names begin like its, have what `mirror` kept."""

    @abstractmethod
    def begin_training(self, folder: Path, until: int | None) -> None:
        """Let a training's folder have its rows, and its newest state not after epoch `until`."""

    @abstractmethod
    def keep_training(self, folder: Path, epoch: int, kept: Collection[int], *, at_once: bool) -> bool:
        """Keep the rows and the state of `epoch` that were written to a training's folder; whether they are now kept.

        They may wait for those of the next epoch unless they are wanted `at_once`. `kept` are all epochs whose states
        are still wanted.
        """

    @abstractmethod
    def keep_states(self, folder: Path, kept: Collection[int]) -> None:
        """A training is done: drop what is kept of its states, but for the newest and those of the epochs `kept`."""

    @abstractmethod
    def older_states(self, folder: Path) -> bool:
        """Whether more of a training's states are kept than the newest that its folder does not show."""

    @abstractmethod
    def saved(self, key: str, epoch: int) -> None:
        """Take note, in the driver, that a worker has kept an epoch of a training: `refresh` is to find it."""
