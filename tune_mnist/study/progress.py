"""Where a run stands: its trainings, epochs, best result and time left."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tune_mnist.spec.training import MODEL_NAMES, PlannedTraining, TrainingConfig


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
