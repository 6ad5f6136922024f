"""Where a study stands, running, dead or finished: read from its files alone, never locked, never written."""

from __future__ import annotations

import datetime
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tune_mnist.shell.about import MASK, PACKAGE
from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.places import shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.lock import Holder
from tune_mnist.study.progress import RunState
from tune_mnist.study.rounds import Round
from tune_mnist.study.seen import Seen, stamp
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingRecord

State = Literal["running", "stopped", "done"]


@dataclass(frozen=True)
class Status:
    """Where a study stood when it was looked at."""

    study: Study
    state: State
    """running: somebody holds the study and lives; stopped: nobody does, and something is left to do."""
    holder: Holder | None
    """Who holds, or died holding, the study."""
    trainings: dict[str, int]
    """How many are complete, diverged, failed, stopped early, begun and waiting."""
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
    """Looks at a study again and again, reading only what changed: a look costs what happened since the last one."""

    study: Study
    seen: Seen | None = None
    """What was seen so far, as long as nothing of it went away."""
    on_record: Callable[[TrainingRecord], None] = lambda record: None
    """Is given every record that is read, and again each time it has changed."""
    rounds: list[tuple[StudySpec, list[Round]]] = field(default_factory=list)
    """Of the specs whose seeds are added, those done when `seen` began; it begins anew once there are others."""

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
        about = self.study.describe()
        runs, search = about["runs"], about.get("search")
        asked = (about["specs"], about.get("rounds"), about["context"], search)
        if self.seen is None or self.seen.asked != asked or not self.seen.update():
            self.rounds = self.study.rounds()
            self.seen = Seen(self.study, asked, self.on_record, over=search is not None and search["over"])
            self.seen.update()
        seen, holder = self.seen, self.study.storage.holder()
        alive = holder is not None and self.study.storage.lives(holder)
        seen.show_running(_started(runs) if alive else time.time())
        left = seen.counts["begun"] + seen.counts["waiting"]
        is_over = not left if search is None else search["over"]
        finished = is_over and (self.study.folder / "results.csv").exists()
        return Status(
            study=self.study,
            state="running" if alive else "done" if finished else "stopped",
            holder=holder,
            trainings={kind: count for kind, count in seen.counts.items() if count},
            progress=seen.progress,
            failures=seen.failures,
            idle_seconds=None if seen.last_saved is None else time.time() - seen.last_saved,
            rounds=self.rounds,
            command=_command_line(runs),
        )


def newest_study(storage: Path) -> Path:
    """The study that ran last in `storage`.

    Raises:
        UserError: there is none.
    """
    times = {path.parent: _last_used(path.parent) for path in storage.glob("*/study.json")}
    require(bool(times), f"{storage} has a study", "none", "run `python -m tune_mnist.grid`, or name a study's folder")
    return max(times, key=lambda folder: (times[folder], str(folder)))


def _last_used(folder: Path) -> int:
    """The time, ns, of the last run: the lock's, which beats, or study.json's where it was never run."""
    return max(seen.time_ns for name in ("study.json", "lock") if (seen := stamp(folder / name)) is not None)


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
