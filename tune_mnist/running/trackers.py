"""Ray's own callbacks for TensorBoard and MLflow, fed training by training instead of trial by trial."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_mnist.running.monitor import TrainingEvents
from tune_mnist.running.supervisor import Watch
from tune_mnist.spec.training import TrainingConfig, training_key

# MLflow's own would let a run wait for minutes at each epoch once its server is gone.
MLFLOW_ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@dataclass(frozen=True)
class AsTrial:
    """A training in the shape of a Tune trial, as far as Ray's logger callbacks look at one."""

    training: TrainingConfig
    folder: Path

    def __str__(self) -> str:
        return self.training.label

    @property
    def config(self) -> dict[str, Any]:
        """The training's config."""
        return dataclasses.asdict(self.training)

    evaluated_params = config

    @property
    def local_path(self) -> str:
        """Where its files go."""
        return str(self.folder)

    def init_local_path(self) -> None:
        """Make that folder."""
        self.folder.mkdir(parents=True, exist_ok=True)


class Tracker(TrainingEvents):
    """Feeds one of Ray's logger callbacks, made by `make`; when that fails the run goes on without it."""

    def __init__(self, name: str, make: Callable[[], Any], watch: Watch) -> None:
        super().__init__()
        self.name, self.make, self.watch = name, make, watch
        self.logger: Any = None
        self.logged: dict[TrainingConfig, int] = {}
        self.gone = False

    def setup(self, *args: Any, **kwargs: Any) -> None:
        def made() -> None:
            self.logger = self.make()
            self.logger.setup(*args, **kwargs)

        self._try(made)

    def started(self, config: TrainingConfig) -> None:
        if config not in self.logged:  # another try goes on in the same file or run
            self.logged[config] = 0
            self._try(lambda: self.logger.log_trial_start(self._trial(config)))

    def epoch(self, config: TrainingConfig, row: dict[str, Any]) -> None:
        if row["epoch"] > self.logged[config]:
            self.logged[config] = row["epoch"]
            metrics = {name: row[name] for name in row if name == "train_loss" or name.startswith(("val_", "test_"))}
            result = {**metrics, "training_iteration": row["epoch"]}
            self._try(lambda: self.logger.log_trial_result(row["epoch"], self._trial(config), result))

    def ended(self, config: TrainingConfig, failed: bool) -> None:
        self._try(lambda: self.logger.log_trial_end(self._trial(config), failed=failed))

    def _trial(self, config: TrainingConfig) -> AsTrial:
        key = training_key(config, self.watch.context)
        return AsTrial(config, self.watch.study.folder / "tensorboard" / f"{config.label}-{key[:6]}")

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
