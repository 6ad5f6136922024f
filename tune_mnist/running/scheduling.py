"""How Tune starts workers and gives them trials: all slots at once, and none in vain."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

PENDING, SNAPSHOTS = "TUNE_MAX_PENDING_TRIALS_PG", "TUNE_GLOBAL_CHECKPOINT_S"
SNAPSHOT_SECONDS = 600
"""How seldom Tune writes the state of all its trials, from which nothing is ever restored, and copies Ray's own files.
"""


@contextlib.contextmanager
def starting_together(count: int) -> Iterator[None]:
    """Let Tune start so many workers at a time: for a searcher it starts one after the other."""
    with _environment({PENDING: str(max(1, count))}):
        yield


@contextlib.contextmanager
def seldom_saved() -> Iterator[None]:
    """Let Tune snapshot its state seldom: with its default of 10 seconds that takes up to 5% of the time."""
    with _environment({SNAPSHOTS: str(SNAPSHOT_SECONDS)}):
        yield


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """These variables set in the block, unless they are set already."""
    unset = values.keys() - os.environ.keys()
    os.environ.update({name: values[name] for name in unset})
    try:
        yield
    finally:
        for name in unset:
            del os.environ[name]


class InOrder(FIFOScheduler):
    """Trials in their order, but a free worker never takes one whose own worker is starting.

    Tune would end the worker that starts: with trials shorter than a start, those that came up first would
    run all trials for ever, and the other slots none (https://github.com/ray-project/ray/pull/42951).
    """

    controller: Any = None
    """Tune's own, once it has asked for a trial."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The first pending trial for which no worker is starting; None if there are only such ones."""
        self.controller = controller = tune_controller._tune_controller
        if not controller._pending_trials:
            return super().choose_trial_to_run(tune_controller)
        without_slot = {None, *controller._actor_manager.pending_actors}
        trials = controller._pending_trials
        without_worker = [trial for trial in trials if controller._trial_to_actor.get(trial) in without_slot]
        return min(without_worker, key=number, default=None)


    def end_trials(self) -> None:
        """End every trial and its worker, which Tune, interrupted, leaves to the end of the session."""
        if self.controller is not None:
            self.controller.cleanup()


def number(trial: Any) -> int:
    """A trial's number in the order of their making: Tune begins the tag of each with it."""
    return int(trial.experiment_tag.partition("_")[0])


class Asha(InOrder, ASHAScheduler):
    """Asynchronous successive halving (arXiv:1810.05934)."""


class MedianStopping(InOrder, MedianStoppingRule):
    """Stops what is worse than the median of running averages, as Google Vizier does."""
