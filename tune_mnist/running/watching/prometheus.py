"""Gauges and counters of a run for Prometheus and the Ray dashboard, and workers named by what they train."""

from __future__ import annotations

import math
import time
from typing import Any

from ray import tune
from ray.tune.trainable.function_trainable import wrap_function
from ray.util.metrics import Counter, Gauge

from tune_mnist.running.chains import configs_of, current_group, plans_of
from tune_mnist.running.starting import WORKER
from tune_mnist.running.supervisor import Watch, label_of
from tune_mnist.running.titles import title
from tune_mnist.spec.training import TrainingConfig, training_key
from tune_mnist.study.progress import RunState
from tune_mnist.study.seen import SeenFolder
from tune_mnist.study.training_folder import STOPPED_EARLY

REFRESH_SECONDS = 2.0  # Ray forgets a gauge that is not set again within its report interval, 10 seconds
STATES = ("waiting", "running", "complete", STOPPED_EARLY, "diverged", "failed")
TRAINING = ("study", "training", "model", "lr", "batch", "seed")

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tune_mnist_trainings": ("Trainings of the run by state", ("study", "state")),
    "tune_mnist_progress": ("Share of the run's model-epochs that is behind it, 0 to 1", ("study",)),
    "tune_mnist_eta_seconds": ("Seconds the run will still take, from the epochs seen so far", ("study",)),
    "tune_mnist_best_accuracy": ("Best accuracy of any epoch so far, 0 to 1", (*TRAINING, "metric")),
    "tune_mnist_training_epoch": ("Last epoch of a training that runs", TRAINING),
    "tune_mnist_training_loss": ("Training loss of a running training's last epoch", TRAINING),
    "tune_mnist_training_accuracy": ("Accuracy after a running training's last epoch, 0 to 1", (*TRAINING, "metric")),
}
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tune_mnist_epochs": ("Model-epochs trained, those read back from the study not counted", ("study", "model")),
}


class TrainingEvents(tune.Callback):
    """Tune's events of trials, each of one training or a pack of them, told as events of trainings."""

    def __init__(self) -> None:
        self.over: set[TrainingConfig] = set()
        """The trainings that have ended."""
        self.begun: set[TrainingConfig] = set()
        """The trainings that were started."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that never happens here

    def started(self, config: TrainingConfig) -> None:
        """A training was started, or started again after a failure."""

    def epoch(self, config: TrainingConfig, row: dict[str, Any]) -> None:
        """A training reported an epoch, perhaps one of an earlier run or try."""

    def ended(self, config: TrainingConfig, failed: bool) -> None:
        """A training ended."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._start_group(trial, again=True)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "member" not in result:
            return
        plan = plans_of(trial)[result["member"]]
        if plan.config not in self.over:
            self._start(plan.config)
            self.epoch(plan.config, result)
            if result["epoch"] == plan.epochs or result["diverged"]:
                self._end(plan.config, failed=False)
                self._start_group(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for config in configs_of(trial):
            self._end(config, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for config in current_group(trial, self.over.__contains__):
            self._end(config, failed=True)

    def _start_group(self, trial: Any, again: bool = False) -> None:
        """Tell of the trainings that the trial is at as started, unless they were and are not `again`."""
        for config in current_group(trial, self.over.__contains__):
            self._start(config, again)

    def _start(self, config: TrainingConfig, again: bool = False) -> None:
        if config not in self.over and (again or config not in self.begun):
            self.begun.add(config)
            self.started(config)

    def _end(self, config: TrainingConfig, failed: bool) -> None:
        if config not in self.over:
            self.over.add(config)
            self.ended(config, failed)


class Monitor(TrainingEvents):
    """Keeps Ray's metrics as the run's state is: set at each epoch, and every two seconds while they hold.

    Ray exports a gauge's last value once and forgets it after two more report intervals, so a training's
    last epoch is seen, and its series ends half a minute after it does.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch, self.state = watch, watch.display.state
        self.gauges = {name: Gauge(name, text, tags) for name, (text, tags) in GAUGES.items()}
        self.counters = {name: Counter(name, text, tags) for name, (text, tags) in COUNTERS.items()}
        self.saved: dict[TrainingConfig, int] = {}
        """The last epoch that is in the study."""
        self.refreshed_at = -math.inf

    def started(self, config: TrainingConfig) -> None:
        folder = self.watch.study.training(training_key(config, self.watch.context)).folder
        self.saved[config] = len(SeenFolder(folder).progress().rows)

    def epoch(self, config: TrainingConfig, row: dict[str, Any]) -> None:
        if row["epoch"] > self.saved.get(config, 0):
            self.saved[config] = row["epoch"]
            self.counters["tune_mnist_epochs"].inc(1, {"study": self.watch.study.name, "model": config.model})
        self._set_training(config, row)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self.refreshed_at >= REFRESH_SECONDS:
            self._refresh()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._refresh()

    def _refresh(self) -> None:
        self.refreshed_at = time.monotonic()
        state, tags = self.state, {"study": self.watch.study.name}
        for kind, count in counts(state).items():
            self.gauges["tune_mnist_trainings"].set(count, tags | {"state": kind})
        self.gauges["tune_mnist_progress"].set(state.done_epochs / max(1, state.total_epochs), tags)
        self.gauges["tune_mnist_eta_seconds"].set(state.eta_seconds(), tags)
        if state.best is not None:
            accuracy, config, _ = state.best
            self.gauges["tune_mnist_best_accuracy"].set(accuracy, self._tags(config) | {"metric": state.accuracy})
        for config, row in state.running.items():
            if "epoch" in row and config not in self.over:
                self._set_training(config, row)

    def _set_training(self, config: TrainingConfig, row: dict[str, Any]) -> None:
        tags, accuracy = self._tags(config), self.state.accuracy
        self.gauges["tune_mnist_training_epoch"].set(row["epoch"], tags)
        if math.isfinite(row["train_loss"]):
            self.gauges["tune_mnist_training_loss"].set(row["train_loss"], tags)
        self.gauges["tune_mnist_training_accuracy"].set(row[accuracy], tags | {"metric": accuracy})

    def _tags(self, config: TrainingConfig) -> dict[str, str]:
        return {
            "study": self.watch.study.name, "training": self.state.label(config), "model": config.model,
            "lr": f"{config.lr:g}", "batch": str(config.batch_size), "seed": str(config.seed),
        }


def counts(state: RunState) -> dict[str, int]:
    """How many of the run's trainings are in each of `STATES`."""
    running = sum(config not in state.ended for config in state.running)
    waiting = len(state.plans) - len(state.ended) - running
    return {kind: state.counts[kind] for kind in STATES} | {"waiting": waiting, "running": running}


def titled(trainable: Any) -> type[tune.Trainable]:
    """A function trainable as a class whose workers' process titles tell what they train.

    A worker's process title is its current training's label: that is its name on the dashboard's cluster page,
    in Ray's own per-process metrics, and in top (see `titles`).
    Tune reuses a worker for many trainings and Ray asks an actor
    for its name but once: on the dashboard's actors page it is the first one's.
    """

    class Training(wrap_function(trainable)):  # type: ignore[misc]
        def __repr__(self) -> str:
            return f"from {label_of(self)} on"

        def step(self) -> Any:
            title.set()
            return super().step()

    Training.__qualname__ = WORKER
    return Training
