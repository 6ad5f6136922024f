"""A training's durable folder: its rows, states and scores, checked when read."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tune_mnist.spec.training import Context, TrainingConfig
from tune_mnist.study.files import (
    Corrupt,
    checksum,
    make_folder,
    names_in,
    read_json,
    remove,
    remove_leftovers,
    warn_and_set_aside,
    write_json,
)
from tune_mnist.study.states import SealedStates, number_of
from tune_mnist.study.storage.base import Storage
from tune_mnist.study.storage.folder import FolderStorage

Status = Literal["complete", "unfinished", "diverged", "failed", "stopped early"]
"""What became of a training. Whether one was stopped early its search says: in its folder it is unfinished."""
STOPPED_EARLY: Status = "stopped early"
KEPT_STATES = 2
SCORE = re.compile(r"test-\d{5}\.json")


@dataclass(frozen=True)
class TrainingRecord:
    """What is known of one training.

    `epochs` has one row per epoch from 1 on: epoch, train_loss, and the evaluation's loss, accuracy,
    precision, recall, f1 and correct, prefixed val_ or test_; a loss that is not finite is None and
    ends them. `timings` has epoch, train_seconds and eval_seconds for most of them.
    """

    key: str
    config: TrainingConfig
    status: Status
    epochs: tuple[dict[str, Any], ...] = ()
    timings: tuple[dict[str, Any], ...] = ()
    error: str | None = None


def stopped_early(record: TrainingRecord) -> TrainingRecord:
    """The record of a search's training, whose trials are over: what was begun and is not at its end was stopped."""
    if record.status == "unfinished" and record.epochs:
        return dataclasses.replace(record, status=STOPPED_EARLY)
    return record


@dataclass
class Progress:
    """A training's rows so far, and the state of the training after epoch `state_epoch`, if there is one.

    Rows beyond that epoch were computed once and lost their state; they stand until computed again.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    timings: list[dict[str, Any]] = field(default_factory=list)
    state: bytes | None = None
    state_epoch: int = 0

    def add(self, row: dict[str, Any], timing: dict[str, Any], state: bytes) -> None:
        """Take in one more epoch, the one after `state_epoch`, with the state that follows it."""
        self.rows[self.state_epoch : self.state_epoch + 1] = [row]
        timings = {known["epoch"]: known for known in self.timings} | {row["epoch"]: timing}
        self.timings = [timings[epoch] for epoch in sorted(timings)]
        self.state = state
        self.state_epoch = row["epoch"]


def diverged(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether the rows end in an epoch with a loss that is not finite."""
    return any(value is None for row in rows[-1:] for name, value in row.items() if name.endswith("loss"))


class TrainingFolder:
    """One training's folder, named by its key. Its writes, in order, are config, history, timings, state.

    A history is written before the state that continues it, so a state always has its rows. Every file
    names or seals the key, so that one that strayed in from another training counts as damaged. Damaged
    files are set aside with a `Damaged` warning when they are met.
    """

    def __init__(self, folder: Path, storage: Storage | None = None) -> None:
        self.folder = folder
        self.storage = storage or FolderStorage(folder)
        self.states = SealedStates(folder, "state", 5, self.key.encode(), checksum, self.storage.is_kept_in_folder)

    @property
    def key(self) -> str:
        return self.folder.name

    def begin(self, config: TrainingConfig, context: Context, until: int | None = None) -> Progress:
        """Make the folder if need be and read where the training stands, or stood after epoch `until`."""
        self._make()
        if until is None:  # else another may be writing here
            remove_leftovers(self.folder)
        self.storage.begin_training(self.folder, until)
        self.describe(config, context)
        return self.progress(with_state=True, until=until)

    def repair(self, config: TrainingConfig, context: Context) -> None:
        """If the training was ever begun, write again what can be without training.

        Its states, which are large, are left alone: `progress` verifies one when it is about to be used.
        """
        if self.folder.is_dir():
            self.describe(config, context)

    def describe(self, config: TrainingConfig, context: Context) -> None:
        """Write what the training is, unless that is on disk already."""
        content = {"config": config.identity(), "context": context.content}
        if self._read("config.json") != content:
            write_json(self.folder / "config.json", content, durable=self.storage.is_kept_in_folder)

    def progress(self, *, with_state: bool = False, until: int | None = None) -> Progress:
        """The rows on disk and, if `with_state`, the newest intact state that continues some of them.

        `until` is the last epoch whose state will do.
        """
        rows = self._rows("history.json")
        timings = self._rows("timings.json")
        if with_state:
            last = len(rows) if until is None else min(until, len(rows))
            for epoch, state in self.states.intact(self._warn_and_set_aside):
                if epoch <= last:
                    return Progress(rows, timings, state, epoch)
        return Progress(rows, timings)

    def save(self, progress: Progress, keep: Collection[int] = (), *, last: bool = True) -> bool:
        """Write the rows and timings, then the state, then drop all states but the newest and those of `keep`.

        Returns:
            Whether all of it is kept for good now: unless it is the `last` of a training, it may wait for the next.
        """
        self._write("history.json", {"epochs": progress.rows})
        self._write("timings.json", {"epochs": progress.timings})
        if progress.state is None:
            return self.storage.keep_training(self.folder, len(progress.rows), (), at_once=last)
        self.states.write(progress.state_epoch, progress.state)
        paths = self.states.paths()
        with_rows = [path for path in paths if number_of(path) <= progress.state_epoch]
        kept = {*with_rows[:KEPT_STATES], *(path for path in with_rows if number_of(path) in keep)}
        remove(set(paths) - kept)  # the old, and those whose rows were lost
        epochs = {number_of(path) for path in kept}
        return self.storage.keep_training(self.folder, progress.state_epoch, epochs, at_once=last)

    def reject(self, progress: Progress, until: int | None = None) -> Progress:
        """Set aside the state of `progress`, which is none of the training's; return where that leaves it."""
        if progress.state is not None:
            name = self.states.name(progress.state_epoch, progress.state)
            self._warn_and_set_aside(self.folder / name, f"{name} is not a state of this training")
        return self.progress(with_state=True, until=until)

    def finish(self, keep: Collection[int] = ()) -> None:
        """Keep the newest state, from which a longer budget can go on, and those of epochs `keep`; forget failures."""
        remove(path for path in self.states.paths()[1:] if number_of(path) not in keep)
        remove([self.folder / "failure.json"])
        self.storage.keep_states(self.folder, keep)

    def tidy(self, epochs: int) -> None:
        """Keep the newest state alone, if the training has diverged or has at least `epochs` epochs."""
        older = self.states.paths()[1:]
        rows = self._rows("history.json") if older or self.storage.older_states(self.folder) else []
        if len(rows) >= epochs or diverged(rows):
            remove(older)
            self.storage.keep_states(self.folder, ())

    def fail(self, error: str, traceback: str) -> None:
        """Record that the training ended with an error: one line, and the traceback."""
        self._make()
        self._write("failure.json", {"error": error, "traceback": traceback})
        self.storage.keep([self.folder / "failure.json"])

    def save_score(self, epoch: int, score: dict[str, Any]) -> None:
        """Keep the test score of the model after `epoch`."""
        self._write(f"test-{epoch:05}.json", {"score": score})
        self.storage.keep([self.folder / f"test-{epoch:05}.json"])

    def score(self, epoch: int) -> dict[str, Any] | None:
        """The test score of the model after `epoch`, if it was ever taken."""
        content = self._read(f"test-{epoch:05}.json")
        return content and content["score"]

    def keep_copied(self) -> None:
        """Keep files that were copied into the folder from another study's training."""
        rows, epochs = len(self._rows("history.json")), [number_of(path) for path in self.states.paths()]
        self.storage.keep_training(self.folder, rows, epochs, at_once=True)
        self.storage.keep(self.folder.glob("test-*.json"))

    def scored_epochs(self) -> list[int]:
        """The epochs after which test scores were taken, rising, those of damaged files among them."""
        return sorted(int(name[5:10]) for name in names_in(self.folder) if SCORE.fullmatch(name))

    def results_digest(self) -> bytes:
        """SHA-256 of the training's files but its states: of all that its record and its scores are read from."""
        digest = hashlib.sha256(self.key.encode())
        for name in sorted(names_in(self.folder)):
            if name.endswith(".json"):
                digest.update(name.encode() + (self.folder / name).read_bytes())
        return digest.digest()

    def record(self, config: TrainingConfig, epochs: int) -> TrainingRecord:
        """The training's record, `complete` meaning that it has at least `epochs` epochs."""
        progress = self.progress()
        status, error = self._outcome(progress.rows, epochs)
        return TrainingRecord(self.key, config, status, tuple(progress.rows), tuple(progress.timings), error)

    def standing(self, epochs: int) -> tuple[Status, int]:
        """The status that its `record` has, and how many epochs: for less, as timings are not read."""
        rows = self._rows("history.json")
        return self._outcome(rows, epochs)[0], len(rows)

    def _outcome(self, rows: list[dict[str, Any]], epochs: int) -> tuple[Status, str | None]:
        """What became of the training, and its error if it failed."""
        failure = self._read("failure.json")
        if diverged(rows):
            return "diverged", None
        if len(rows) >= epochs:
            return "complete", None
        return ("unfinished", None) if failure is None else ("failed", failure["error"])

    def _make(self) -> None:
        """Make the folder, if need be, and the one above it; a study that is gone is not made anew."""
        if not self.folder.is_dir():
            make_folder(self.folder.parent)
            make_folder(self.folder)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_json(
            self.folder / name, {"training": self.key, **content}, durable=self.storage.is_kept_in_folder
        )

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            content = read_json(self.folder / name)
        except FileNotFoundError:
            return None
        except Corrupt as problem:
            self._warn_and_set_aside(self.folder / name, str(problem))
            return None
        if content.get("training", self.key) != self.key:
            self._warn_and_set_aside(self.folder / name, f"{name} belongs to training {content['training']}")
            return None
        return content

    def _rows(self, name: str) -> list[dict[str, Any]]:
        content = self._read(name)
        return content["epochs"] if content else []

    def _warn_and_set_aside(self, path: Path, problem: str) -> None:
        warn_and_set_aside(path, f"training {self.key}: {problem}")
