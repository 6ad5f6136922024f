"""Where a study stands, running, dead or finished: read from its files alone, never locked, never written."""

from __future__ import annotations

import datetime
import os
import shlex
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tune_mnist.shell.about import MASK, PACKAGE
from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.training import PREFIX, PlannedTraining, training_key
from tune_mnist.study.lock import STALE_SECONDS, holder
from tune_mnist.study.progress import RunState
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder, TrainingRecord

State = Literal["running", "stopped", "done"]


class SeenFolder(TrainingFolder):
    """A training's folder that is only looked at: what is damaged counts as missing and stays where it is."""

    def _warn_and_set_aside(self, path: Path, problem: str) -> None:
        pass

    def stamps(self) -> tuple[tuple[int, int] | None, ...]:
        """What changes when the record does: each of its files' time (ns) and size, None for one that is not there."""
        names = ("config.json", "history.json", "timings.json", "failure.json")
        return tuple(_stamp(self.folder / name) for name in names)


@dataclass(frozen=True)
class Status:
    """Where a study stood when it was looked at."""

    study: Study
    state: State
    """running: somebody holds the study and lives; stopped: nobody does, and something is left to do."""
    holder: dict[str, object] | None
    """Who holds, or died holding, the study: host, pid, command, heartbeat_seconds."""
    trainings: dict[str, int]
    """How many are complete, diverged, failed, begun and waiting."""
    progress: RunState
    failures: dict[str, str]
    """The failed trainings' labels and errors, one line each."""
    idle_seconds: float | None
    """Seconds since an epoch was last saved."""
    command: str | None
    """The command line of the study's last run, if it was one of this package's."""


@dataclass
class Look:
    """Looks at a study again and again, reading only what changed."""

    study: Study
    seen: dict[str, tuple[Any, TrainingRecord]] = field(default_factory=dict)

    def __call__(self) -> Status:
        """Where the study stands now.

        Raises:
            UserError: the folder holds no study, one of another version, or cannot be read.
        """
        try:
            return self._status()
        except (KeyError, TypeError):
            raise UserError(
                f"{self.study.folder}: its study.json is of another version: look with the version that made it"
            ) from None
        except OSError as error:
            raise UserError(f"cannot read {error.filename}: {error.strerror}: see to its folder") from None

    def _status(self) -> Status:
        described, planned, context = self.study.describe(), self.study.planned(), self.study.context()
        folders = [SeenFolder(self.study.training(training_key(plan.config, context)).folder) for plan in planned]
        stamps = [folder.stamps() for folder in folders]
        records = [self._record(*each) for each in zip(planned, folders, stamps, strict=True)]
        told = holder(self.study.folder)
        alive = told is not None and lives(told)
        since = time.time() if not alive else _started(described["runs"])
        touched = [max((stamp[0] / 1e9 for stamp in four[:2] if stamp), default=0.0) for four in stamps]
        running = [time_ >= since for time_ in touched]
        counts = Counter(_kind(record, four) for record, four in zip(records, stamps, strict=True))
        left = counts["begun"] + counts["waiting"] > 0 or not (self.study.folder / "results.csv").exists()
        saved = max((four[1][0] / 1e9 for four in stamps if four[1]), default=None)
        return Status(
            self.study, "running" if alive else "stopped" if left else "done", told, dict(counts),
            progress_of(planned, records, running, f"{PREFIX[context.protocol]}_accuracy"),
            {r.config.label: str(r.error) for r in records if r.status == "failed"},
            None if saved is None else time.time() - saved, _command_line(described["runs"]),
        )

    def _record(self, plan: PlannedTraining, folder: SeenFolder, stamps: Any) -> TrainingRecord:
        sign = (stamps, plan.epochs)
        if folder.key not in self.seen or self.seen[folder.key][0] != sign:
            self.seen[folder.key] = (sign, folder.record(plan.config, plan.epochs))
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


def lives(told: Mapping[str, object]) -> bool:
    """Whether the holder of a study, as the lock file tells of it, lives: its heart beats, and its process, if here."""
    if float(str(told["heartbeat_seconds"])) > STALE_SECONDS:
        return False
    if told["host"] != socket.gethostname():
        return True
    try:
        os.kill(int(str(told["pid"])), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError):
        return False
    return True


def newest_study(storage: Path) -> Path:
    """The study that ran last in `storage`.

    Raises:
        UserError: there is none.
    """
    times = {path.parent: _last_used(path.parent) for path in storage.glob("*/study.json")}
    require(bool(times), f"{storage} has a study", "none", "run `python -m tune_mnist.grid`, or name a study's folder")
    return max(times, key=lambda folder: (times[folder], str(folder)))


def _kind(record: TrainingRecord, stamps: Sequence[object]) -> str:
    if record.status != "unfinished":
        return record.status
    return "begun" if any(stamps) else "waiting"


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def _last_used(folder: Path) -> int:
    """The time, ns, of the last run: the lock's, which beats, or study.json's where it was never run."""
    return max(stamp[0] for name in ("study.json", "lock") if (stamp := _stamp(folder / name)) is not None)


def _started(runs: Sequence[Mapping[str, Any]]) -> float:
    """When the last run started, seconds since the epoch; 0 if it did not say."""
    try:
        return datetime.datetime.fromisoformat(runs[-1]["started"]).timestamp()
    except (IndexError, KeyError, ValueError):
        return 0.0


def _command_line(runs: Sequence[Mapping[str, Any]]) -> str | None:
    words = list(runs[-1].get("command", ())) if runs else []
    if not words:
        return None
    program, *rest = words
    stem = Path(program).stem
    if program.endswith(".py") and (PACKAGE / f"{stem}.py").is_file():
        start = "python -m tune_mnist" + ("" if stem == "__main__" else f".{stem}")
    elif stem == "tune-mnist":
        start = stem
    else:
        return None
    masked = " (with its password in place of ***)" if any(MASK in word for word in rest) else ""
    return f"{start} {shlex.join(rest)}".strip() + masked
