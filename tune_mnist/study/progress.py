"""Where a run stands: its trainings, epochs, best result and time left."""

from __future__ import annotations

import bisect
import math
import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tune_mnist.spec.models import cost_of
from tune_mnist.spec.training import PlannedTraining, TrainingConfig
from tune_mnist.spec.words.naming import varying


class Best(NamedTuple):
    """The best epoch so far."""

    accuracy: float
    config: TrainingConfig
    epoch: int


Kind = tuple[str, int]
"""A training's model and batch size, by which epochs cost alike."""


@dataclass
class RunState:
    """Where a run stands. Knows nothing of Ray or of terminals.

    All sums are kept as events come, so that an event, and a look, cost the same in a run of any size.
    """

    plans: list[PlannedTraining]
    accuracy: str
    """The name of the reported metric: val_accuracy or test_accuracy."""
    epochs: dict[TrainingConfig, int] = field(default_factory=dict)
    """The last epoch of each training that reported one."""
    running: dict[TrainingConfig, dict[str, Any]] = field(default_factory=dict)
    """The last row of each training that runs."""
    ended: dict[TrainingConfig, str] = field(default_factory=dict)
    """How each training that ended did."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many ended in which way."""
    best: Best | None = None
    varying: tuple[str, ...] | None = None
    """The settings by which trainings are told apart; if not given, those that vary between the plans."""
    _planned: dict[TrainingConfig, int] = field(default_factory=dict)
    """How many epochs each training of a plan is to have."""
    _total: int = 0
    _done: int = 0
    """Model-epochs planned and done, as `total_epochs` and `done_epochs` have them."""
    reported: int = 0
    """Model-epochs reported."""
    _to_go: Counter[Kind] = field(default_factory=Counter)
    """By kind, the model-epochs to go of the trainings that have not ended."""
    _seconds: dict[Kind, tuple[float, int]] = field(default_factory=dict)
    """By kind, the seconds of the epochs seen, summed, and how many these are."""

    def __post_init__(self) -> None:
        for plan in self.plans:
            self._add(plan)
        if self.varying is None:
            self.varying = varying([plan.config.row() for plan in self.plans])

    def plan(self, plan: PlannedTraining) -> None:
        """One more training is planned."""
        self.plans.append(plan)
        self._add(plan)

    def _add(self, plan: PlannedTraining) -> None:
        more = plan.epochs - self._planned.get(plan.config, 0)
        self._planned[plan.config] = plan.epochs
        self._total += more
        self._to_go[_kind(plan.config)] += more

    def label(self, config: TrainingConfig) -> str:
        """A training's short name in this run."""
        return config.named(self.varying or ())

    def start(self, config: TrainingConfig, together: int = 1) -> None:
        """A training was started, or started again, in a trial of so many."""
        self.running[config] = {"together": together}

    def stop(self, config: TrainingConfig) -> None:
        """A training no longer runs, and has not ended: it will be started again."""
        self.running.pop(config, None)

    def epoch(self, config: TrainingConfig, row: dict[str, Any]) -> None:
        """A training reported an epoch."""
        self.running[config] = row
        self.read(config, [row], [row] if "train_seconds" in row else [])

    def read(
        self, config: TrainingConfig, rows: Sequence[Mapping[str, Any]], timings: Sequence[Mapping[str, Any]]
    ) -> None:
        """Some epochs of a training are known, one row at least, and the seconds that some of them took."""
        reached = rows[-1]["epoch"]
        more = reached - self.epochs.get(config, 0)
        if more > 0:
            self.epochs[config] = reached
            self.reported += more
            if config not in self.ended:
                self._to_go[_kind(config)] -= more
            if self.ended.get(config, "failed") == "failed":
                self._done += more
        if timings:
            seconds, count = self._seconds.get(_kind(config), (0.0, 0))
            more_seconds = sum(timing["train_seconds"] + timing["eval_seconds"] for timing in timings)
            self._seconds[_kind(config)] = seconds + more_seconds, count + len(timings)
        best = max(rows, key=operator.itemgetter(self.accuracy))
        if self.best is None or best[self.accuracy] > self.best.accuracy:
            self.best = Best(best[self.accuracy], config, best["epoch"])

    def end(self, config: TrainingConfig, status: str) -> None:
        """A training ended: "complete", "stopped early", "diverged" or "failed"."""
        self.running.pop(config, None)
        left = self._planned.get(config, 0) - self.epochs.get(config, 0)
        before = self.ended.get(config)
        if before is None:
            self._to_go[_kind(config)] -= left
        else:
            self.counts[before] -= 1
        self._done += left * ((status != "failed") - (before not in (None, "failed")))
        self.ended[config] = status
        self.counts[status] += 1

    @property
    def total_epochs(self) -> int:
        """Model-epochs of the whole run."""
        return self._total

    @property
    def done_epochs(self) -> int:
        """Model-epochs that are done; an ended training counts whole, but one that failed as far as it came."""
        return self._done

    def eta_seconds(self) -> float | None:
        """Seconds to go, from the epochs seen so far; None before the first."""
        if not self._seconds:
            return None
        seconds = self._epochs_seconds([(kind, to_go) for kind, to_go in self._to_go.items() if to_go])
        # Trainings in step take a share each of one trial's time.
        trials = sum(1 / row.get("together", 1) for row in self.running.values())
        return seconds / max(1.0, trials)

    def training_seconds(self, plan: PlannedTraining) -> float | None:
        """What all of a training will take, from the epochs seen so far; None before the first."""
        return self._epochs_seconds([(_kind(plan.config), plan.epochs)]) if self._seconds else None

    def _epochs_seconds(self, epochs: Iterable[tuple[Kind, int]]) -> float:
        """Seconds of so many epochs of these kinds, guessed for those not seen from the nearest that was."""
        costs: list[tuple[float, float]] = []  # log costs and seconds, rising, of the kinds seen
        total = 0.0
        for kind, count in epochs:
            if kind not in self._seconds:
                costs = costs or sorted((_log_cost(*seen), _mean(known)) for seen, known in self._seconds.items())
            total += count * (_mean(self._seconds[kind]) if kind in self._seconds else _guessed_seconds(costs, kind))
        return total

    def summary(self) -> str:
        """One line: share done, model-epochs, trainings, best so far, time left."""
        done, total = self.done_epochs, self.total_epochs
        share = f"{done / max(1, total):4.0%}  {done}/{total} model-epochs"
        return ", ".join(filter(None, [share, self.trainings_in_words(), self.best_in_words(), self.left_in_words()]))

    def trainings_in_words(self) -> str:
        """How many trainings have ended, run and failed."""
        failed = f", {self.counts['failed']} failed" if self.counts["failed"] else ""
        return f"{len(self.ended)}/{len(self.plans)} trainings, {len(self.running)} running{failed}"

    def best_in_words(self) -> str:
        """The best so far, "" before the first epoch."""
        if self.best is None:
            return ""
        accuracy, config, epoch = self.best
        return f"best {self.accuracy} {accuracy:.2%} ({self.label(config)}, epoch {epoch})"

    def left_in_words(self) -> str:
        """The time left, "" before the first epoch and after the last training."""
        eta = self.eta_seconds()
        return "" if eta is None or len(self.ended) == len(self.plans) else f"about {clock(eta)} left"


def _kind(config: TrainingConfig) -> Kind:
    return config.model, config.batch_size


def _mean(known: tuple[float, int]) -> float:
    total, count = known
    return total / count


def _guessed_seconds(costs: Sequence[tuple[float, float]], kind: Kind) -> float:
    """Seconds of an epoch of a kind not seen, from the nearest that was; `costs` are log costs and seconds, rising."""
    cost = _log_cost(*kind)
    at = bisect.bisect(costs, (cost, 0.0))
    nearest, mean = min(costs[max(0, at - 1) : at + 1], key=lambda seen: abs(seen[0] - cost))
    return mean * 2 ** (cost - nearest)


def _log_cost(model: str, batch_size: int) -> float:
    """The base-2 logarithm of an epoch's relative cost.

    By the benchmark of steps, each model costs about twice the one before, and a step as much as 28 pictures more.
    """
    return cost_of(model) + math.log2(1 + 28 / batch_size)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
