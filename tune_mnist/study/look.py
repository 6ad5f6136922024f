"""Where a study stands, running, dead or finished: read from its files alone, never locked, never written."""

from __future__ import annotations

import datetime
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tune_mnist.shell.about import MASK, PACKAGE
from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.places import shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import PREFIX, PlannedTraining, training_key
from tune_mnist.study.lock import Holder
from tune_mnist.study.progress import RunState
from tune_mnist.study.rounds import Round
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder, TrainingRecord

State = Literal["running", "stopped", "done"]


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
        return Stamps(*(_stamp(self.folder / f"{name}.json") for name in Stamps._fields))


@dataclass(frozen=True)
class Status:
    """Where a study stood when it was looked at."""

    study: Study
    state: State
    """running: somebody holds the study and lives; stopped: nobody does, and something is left to do."""
    holder: Holder | None
    """Who holds, or died holding, the study."""
    trainings: dict[str, int]
    """How many are complete, diverged, failed, begun and waiting."""
    progress: RunState
    failures: dict[str, str]
    """The failed trainings' labels and errors, one line each."""
    idle_seconds: float | None
    """Seconds since an epoch was last saved."""
    rounds: list[tuple[StudySpec, list[Round]]]
    """The specs whose seeds are added, each with the rounds done so far."""
    command: str | None
    """The command line of the study's last run, if it was one of this package's."""


@dataclass
class Look:
    """Looks at a study again and again, reading only what changed."""

    study: Study
    seen: dict[str, tuple[tuple[Stamps, int], TrainingRecord]] = field(default_factory=dict)
    """By key, each training's record, and the stamps and epochs for which it was read."""

    def __call__(self) -> Status:
        """Where the study stands now.

        Raises:
            UserError: the folder holds no study, one of another version, or cannot be read.
        """
        try:
            return self._status()
        except (KeyError, TypeError):
            raise UserError(
                f"{shown(self.study.path)}: its study.json is of another version: look with the version that made it"
            ) from None
        except OSError as error:
            raise UserError(f"cannot read {error.filename}: {error.strerror}: see to its folder") from None

    def _status(self) -> Status:
        self.study.storage.refresh()
        runs = self.study.describe()["runs"]
        planned = self.study.planned()
        context = self.study.context()
        folders = [SeenFolder(self.study.training(training_key(plan.config, context)).folder) for plan in planned]
        stamps = [folder.stamps() for folder in folders]
        records = [self._record(*each) for each in zip(planned, folders, stamps, strict=True)]
        holder = self.study.storage.holder()
        alive = holder is not None and self.study.storage.lives(holder)
        started = _started(runs) if alive else time.time()
        running = [_last_change(files) >= started for files in stamps]
        counts = Counter(_kind(record, files) for record, files in zip(records, stamps, strict=True))
        finished = not counts["begun"] and not counts["waiting"] and (self.study.folder / "results.csv").exists()
        last_saved = max((files.history.time_ns / 1e9 for files in stamps if files.history), default=None)
        return Status(
            study=self.study,
            state="running" if alive else "done" if finished else "stopped",
            holder=holder,
            trainings=dict(counts),
            progress=progress_of(planned, records, running, f"{PREFIX[context.protocol]}_accuracy"),
            failures={r.config.label: str(r.error) for r in records if r.status == "failed"},
            idle_seconds=None if last_saved is None else time.time() - last_saved,
            rounds=self.study.rounds(),
            command=_command_line(runs),
        )

    def _record(self, plan: PlannedTraining, folder: SeenFolder, stamps: Stamps) -> TrainingRecord:
        version = (stamps, plan.epochs)
        if folder.key not in self.seen or self.seen[folder.key][0] != version:
            self.seen[folder.key] = (version, folder.record(plan.config, plan.epochs))
        return self.seen[folder.key][1]


def progress_of(
    planned: Sequence[PlannedTraining], records: Iterable[TrainingRecord], running: Iterable[bool], accuracy: str
) -> RunState:
    """The records as the run's own display has them; `running` says which are being trained, if they are not done."""
    state = RunState(list(planned), accuracy)
    for record, runs in zip(records, running, strict=True):
        seconds = {timing["epoch"]: timing for timing in record.timings}
        state.start(record.config)
        for row in record.epochs:
            state.epoch(record.config, {**row, **seconds.get(row["epoch"], {})})
        if record.status != "unfinished":
            state.end(record.config, record.status)
        elif not runs:
            del state.running[record.config]
    return state


def newest_study(storage: Path) -> Path:
    """The study that ran last in `storage`.

    Raises:
        UserError: there is none.
    """
    times = {path.parent: _last_used(path.parent) for path in storage.glob("*/study.json")}
    require(bool(times), f"{storage} has a study", "none", "run `python -m tune_mnist.grid`, or name a study's folder")
    return max(times, key=lambda folder: (times[folder], str(folder)))


def _kind(record: TrainingRecord, stamps: Stamps) -> str:
    if record.status != "unfinished":
        return record.status
    return "begun" if any(stamps) else "waiting"


def _last_change(stamps: Stamps) -> float:
    """When a training was begun or last saved an epoch, seconds since 1970; 0 if it was never begun."""
    return max((stamp.time_ns / 1e9 for stamp in (stamps.config, stamps.history) if stamp), default=0.0)


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return Stamp(status.st_mtime_ns, status.st_size)


def _last_used(folder: Path) -> int:
    """The time, ns, of the last run: the lock's, which beats, or study.json's where it was never run."""
    return max(stamp.time_ns for name in ("study.json", "lock") if (stamp := _stamp(folder / name)) is not None)


def _started(runs: Sequence[Mapping[str, Any]]) -> float:
    """When the last run started, seconds since 1970; 0 if it did not say."""
    try:
        return datetime.datetime.fromisoformat(runs[-1]["started"]).timestamp()
    except (IndexError, KeyError, ValueError):
        return 0.0


def _command_line(runs: Sequence[Mapping[str, Any]]) -> str | None:
    words = list(runs[-1].get("command", ())) if runs else []
    if not words:
        return None
    program, *rest = words
    rest = [word for word in rest if word != "--fresh"]  # which would start anew
    stem = Path(program).stem
    if program.endswith(".py") and (PACKAGE / f"{stem}.py").is_file():
        start = "python -m tune_mnist" + ("" if stem == "__main__" else f".{stem}")
    elif stem == "tune-mnist":
        start = stem
    else:
        return None
    masked = " (with its password in place of ***)" if any(MASK in word for word in rest) else ""
    return f"{start} {shlex.join(rest)}".strip() + masked
