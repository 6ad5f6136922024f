"""Ray's own callbacks for TensorBoard and MLflow, fed training by training instead of trial by trial."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tune_mnist.running.supervisor import Watch
from tune_mnist.running.watching.prometheus import TrainingEvents
from tune_mnist.spec.training import TrainingConfig, training_key

# MLflow's own would let a run wait for minutes at each epoch once its server is gone.
MLFLOW_ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class AsTrial:
    """A training in the shape of a Tune trial, as far as Ray's logger callbacks look at one."""

    def __init__(self, training: TrainingConfig, label: str, folder: Path) -> None:
        self.label, self.local_path = label, str(folder)
        self.config = self.evaluated_params = training.row()
        self.last_epoch = 0

    def __str__(self) -> str:
        return self.label

    def init_local_path(self) -> None:
        """Make the folder of its files."""
        os.makedirs(self.local_path, exist_ok=True)


class Tracker(TrainingEvents):
    """Feeds one of Ray's logger callbacks, made by `make`; when that fails the run goes on without it."""

    def __init__(self, name: str, make: Callable[[], Any], watch: Watch) -> None:
        super().__init__()
        self.name, self.make, self.watch = name, make, watch
        self.logger: Any = None
        self.trials: dict[TrainingConfig, AsTrial] = {}
        self.gone = False

    def setup(self, *args: Any, **kwargs: Any) -> None:
        def make_and_set_up() -> None:
            self.logger = self.make()
            self.logger.setup(*args, **kwargs)

        self._try(make_and_set_up)

    def started(self, config: TrainingConfig) -> None:
        if config in self.trials:  # another try goes on in the same file or run
            return
        label = self.watch.display.state.label(config)
        name = f"{label}-{training_key(config, self.watch.context)[:6]}"
        self.trials[config] = AsTrial(config, label, self.watch.study.folder / "tensorboard" / name)
        self._try(lambda: self.logger.log_trial_start(self.trials[config]))

    def epoch(self, config: TrainingConfig, row: dict[str, Any]) -> None:
        trial, epoch = self.trials[config], row["epoch"]
        if epoch > trial.last_epoch:
            trial.last_epoch = epoch
            metrics = {name: row[name] for name in row if name == "train_loss" or name.startswith(("val_", "test_"))}
            self._try(lambda: self.logger.log_trial_result(epoch, trial, {**metrics, "training_iteration": epoch}))

    def ended(self, config: TrainingConfig, failed: bool) -> None:
        if config in self.trials:
            self._try(lambda: self.logger.log_trial_end(self.trials[config], failed=failed))

    def _try(self, action: Callable[[], None]) -> None:
        if self.gone:
            return
        try:
            action()
        except Exception as error:  # of whatever kind the client's are: the study itself is not touched by it
            self.gone = True
            line = " ".join(str(error).split())[:200]
            self.watch.display.tell(f"warning: {self.name} failed and gets no more ({type(error).__name__}: {line})")


def tensorboard_tracker(watch: Watch) -> Tracker:
    """Event files in the study's folder tensorboard, one folder per training, flushed at each epoch."""

    def make() -> Any:
        from ray.tune.logger import TBXLoggerCallback

        return TBXLoggerCallback()

    return Tracker("TensorBoard", make, watch)


def mlflow_tracker(watch: Watch, uri: str) -> Tracker:
    """A run per training in an experiment of the study's name; a resumed training is a new run, whole."""

    def make() -> Any:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        os.environ.update({name: os.environ.get(name, value) for name, value in MLFLOW_ENVIRONMENT.items()})
        return MLflowLoggerCallback(tracking_uri=uri, experiment_name=watch.study.name)

    return Tracker("MLflow", make, watch)
