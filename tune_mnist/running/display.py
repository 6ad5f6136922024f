"""The live view of a run: a table on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from tune_mnist.config import MODEL_NAMES, PlannedTraining, TrainingConfig

LINE_SECONDS = 10.0
SHOWN = 12


@dataclass
class RunState:
    """Where a run stands; `accuracy` names the reported metric. Knows nothing of Ray or of terminals."""

    plans: list[PlannedTraining]
    accuracy: str
    started: float = field(default_factory=time.monotonic)
    epochs: dict[TrainingConfig, int] = field(default_factory=dict)
    running: dict[TrainingConfig, dict[str, Any]] = field(default_factory=dict)
    ended: dict[TrainingConfig, str] = field(default_factory=dict)
    best: tuple[float, TrainingConfig, int] | None = None
    _seconds: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def start(self, config: TrainingConfig, together: int = 1) -> None:
        """A training was started, or started again, in a trial of so many."""
        self.running[config] = {"together": together}

    def epoch(self, config: TrainingConfig, row: dict[str, Any]) -> None:
        """A training reported an epoch."""
        self.running[config] = row
        self.epochs[config] = max(row["epoch"], self.epochs.get(config, 0))
        if "train_seconds" in row:
            self._seconds[config.model, config.batch_size].append(row["train_seconds"] + row["eval_seconds"])
        if self.best is None or row[self.accuracy] > self.best[0]:
            self.best = (row[self.accuracy], config, row["epoch"])

    def end(self, config: TrainingConfig, how: str) -> None:
        """A training ended: "complete", "diverged" or "failed"."""
        self.running.pop(config, None)
        self.ended[config] = how

    @property
    def total_epochs(self) -> int:
        """Model-epochs of the whole run."""
        return sum(plan.epochs for plan in self.plans)

    @property
    def done_epochs(self) -> int:
        """Model-epochs behind us; an ended training counts whole, however it ended."""
        return sum(p.epochs if p.config in self.ended else self.epochs.get(p.config, 0) for p in self.plans)

    def eta_seconds(self) -> float | None:
        """Seconds to go, from the epochs seen so far; None before the first."""
        if not self._seconds:
            return None
        means = {kind: sum(times) / len(times) for kind, times in self._seconds.items()}
        left = sum(
            (plan.epochs - self.epochs.get(plan.config, 0)) * _epoch_seconds(means, plan.config)
            for plan in self.plans if plan.config not in self.ended
        )
        # Of trainings in step, each takes its share of one trial's time.
        return left / max(1.0, sum(1 / row.get("together", 1) for row in self.running.values()))

    def summary(self) -> str:
        """One line: share done, model-epochs, trainings, best so far, time left."""
        done, total = self.done_epochs, self.total_epochs
        parts = [
            f"{done / max(1, total):4.0%}  {done}/{total} model-epochs",
            f"{len(self.ended)}/{len(self.plans)} trainings", f"{len(self.running)} running",
        ]
        if self.best is not None:
            accuracy, config, epoch = self.best
            parts.append(f"best {self.accuracy} {accuracy:.2%} ({config.label}, epoch {epoch})")
        eta = self.eta_seconds()
        return ", ".join(parts) + (f", about {clock(eta)} left" if eta is not None and done < total else "")


def _epoch_seconds(means: dict[tuple[str, int], float], config: TrainingConfig) -> float:
    """Seconds of an epoch: of its kind where seen, else guessed from the nearest kind.

    By the benchmark of steps, each model costs about twice the one before, and a step as much as 28 pictures more.
    """
    def rank(kind: tuple[str, int]) -> float:
        return MODEL_NAMES.index(kind[0]) + math.log2(1 + 28 / kind[1])

    kind = (config.model, config.batch_size)
    nearest = min(means, key=lambda seen: (seen != kind, abs(rank(seen) - rank(kind))))
    return means[nearest] if nearest == kind else means[nearest] * 2 ** (rank(kind) - rank(nearest))


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def view(state: RunState) -> Group:
    """A run's bar, its running trainings and its summary, for a terminal."""
    bar = Progress(TextColumn("{task.percentage:3.0f}%"), BarColumn(None), TextColumn("{task.description}"))
    bar.add_task(f"{state.done_epochs}/{state.total_epochs} model-epochs", total=state.total_epochs,
                 completed=state.done_epochs)
    table = Table("model", "lr", "batch", "seed", "epoch", "train loss", state.accuracy, box=None)
    for config, row in list(state.running.items())[:SHOWN]:
        loss, accuracy = row.get("train_loss"), row.get(state.accuracy)
        table.add_row(
            config.model, f"{config.lr:g}", str(config.batch_size), str(config.seed), str(row.get("epoch", "-")),
            "-" if loss is None else f"{loss:.4f}", "-" if accuracy is None else f"{accuracy:.2%}",
        )
    return Group(bar, table, state.summary())


class Display:
    """Shows a `RunState` while it changes. Use as a context manager; call `update` after each change."""

    def __init__(self, state: RunState, console: Console) -> None:
        self.state, self.console = state, console
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown = time.monotonic()

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.__exit__(None, None, None)
        self.console.print(self.state.summary(), highlight=False, soft_wrap=True)

    def update(self) -> None:
        """Show the state now if the last view is old enough."""
        now = time.monotonic()
        if now - self._shown < (0.25 if self.live is not None else LINE_SECONDS):
            return
        self._shown = now
        if self.live is not None:
            self.live.update(view(self.state), refresh=True)
        else:
            self.console.print(self.state.summary(), highlight=False, soft_wrap=True)

    def tell(self, line: str) -> None:
        """Show a line that stays."""
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)
