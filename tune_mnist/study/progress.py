"""Where a run stands: its trainings, epochs, best result and time left."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tune_mnist.spec.models import place_of
from tune_mnist.spec.training import PlannedTraining, TrainingConfig
from tune_mnist.spec.words.naming import label, varying


class Best(NamedTuple):
    """The best epoch so far."""

    accuracy: float
    config: TrainingConfig
    epoch: int


@dataclass
class RunState:
    """Where a run stands. Knows nothing of Ray or of terminals."""

    plans: list[PlannedTraining]
    accuracy: str
    """The name of the reported metric: val_accuracy or test_accuracy."""
    epochs: dict[TrainingConfig, int] = field(default_factory=dict)
    """The last epoch of each training that reported one."""
    running: dict[TrainingConfig, dict[str, Any]] = field(default_factory=dict)
    """The last row of each training that runs."""
    ended: dict[TrainingConfig, str] = field(default_factory=dict)
    """How each training that ended did."""
    best: Best | None = None
    varying: tuple[str, ...] | None = None
    """The settings by which trainings are told apart; if not given, those that vary between the plans."""
    _seconds: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    """By model and batch size, the seconds of the epochs seen."""

    def __post_init__(self) -> None:
        if self.varying is None:
            self.varying = varying([plan.config.row() for plan in self.plans])

    def label(self, config: TrainingConfig) -> str:
        """A training's short name in this run."""
        return label(config, self.varying or ())

    def start(self, config: TrainingConfig, together: int = 1) -> None:
        """A training was started, or started again, in a trial of so many."""
        self.running[config] = {"together": together}

    def epoch(self, config: TrainingConfig, row: dict[str, Any]) -> None:
        """A training reported an epoch."""
        self.running[config] = row
        self.epochs[config] = max(row["epoch"], self.epochs.get(config, 0))
        if "train_seconds" in row:
            self._seconds[config.model, config.batch_size].append(row["train_seconds"] + row["eval_seconds"])
        if self.best is None or row[self.accuracy] > self.best.accuracy:
            self.best = Best(row[self.accuracy], config, row["epoch"])

    def end(self, config: TrainingConfig, status: str) -> None:
        """A training ended: "complete", "diverged" or "failed"."""
        self.running.pop(config, None)
        self.ended[config] = status

    @property
    def total_epochs(self) -> int:
        """Model-epochs of the whole run."""
        return sum(plan.epochs for plan in self.plans)

    @property
    def done_epochs(self) -> int:
        """Model-epochs that are done; an ended training counts whole, but one that failed as far as it came."""
        whole = {config for config, status in self.ended.items() if status != "failed"}
        return sum(plan.epochs if plan.config in whole else self.epochs.get(plan.config, 0) for plan in self.plans)

    def eta_seconds(self) -> float | None:
        """Seconds to go, from the epochs seen so far; None before the first."""
        if not self._seconds:
            return None
        means = {kind: sum(times) / len(times) for kind, times in self._seconds.items()}
        seconds = sum(
            (plan.epochs - self.epochs.get(plan.config, 0)) * _epoch_seconds(means, plan.config)
            for plan in self.plans if plan.config not in self.ended
        )
        # Trainings in step take a share each of one trial's time.
        trials = sum(1 / row.get("together", 1) for row in self.running.values())
        return seconds / max(1.0, trials)

    def summary(self) -> str:
        """One line: share done, model-epochs, trainings, best so far, time left."""
        done = self.done_epochs
        total = self.total_epochs
        parts = [
            f"{done / max(1, total):4.0%}  {done}/{total} model-epochs",
            f"{len(self.ended)}/{len(self.plans)} trainings", f"{len(self.running)} running",
        ]
        failed = list(self.ended.values()).count("failed")
        if failed:
            parts.append(f"{failed} failed")
        if self.best is not None:
            best = self.best
            parts.append(f"best {self.accuracy} {best.accuracy:.2%} ({self.label(best.config)}, epoch {best.epoch})")
        eta = self.eta_seconds()
        if eta is not None and len(self.ended) < len(self.plans):
            parts.append(f"about {clock(eta)} left")
        return ", ".join(parts)


def _epoch_seconds(means: dict[tuple[str, int], float], config: TrainingConfig) -> float:
    """Seconds of an epoch: the mean of its model and batch size where seen, else guessed from the nearest pair."""
    kind = (config.model, config.batch_size)
    if kind in means:
        return means[kind]
    nearest = min(means, key=lambda seen: abs(_log_cost(*seen) - _log_cost(*kind)))
    return means[nearest] * 2 ** (_log_cost(*kind) - _log_cost(*nearest))


def _log_cost(model: str, batch_size: int) -> float:
    """The base-2 logarithm of an epoch's relative cost.

    By the benchmark of steps, each model costs about twice the one before, and a step as much as 28 pictures more.
    """
    return place_of(model)[0] + math.log2(1 + 28 / batch_size)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
