"""How Tune starts workers and gives them trials: all slots at once, and none in vain."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

PENDING = "TUNE_MAX_PENDING_TRIALS_PG"


@contextlib.contextmanager
def starting_together(count: int) -> Iterator[None]:
    """Let Tune start so many workers at a time: for a searcher it starts one after the other."""
    unset = PENDING not in os.environ
    os.environ.setdefault(PENDING, str(max(1, count)))
    try:
        yield
    finally:
        if unset:
            del os.environ[PENDING]


class InOrder(FIFOScheduler):
    """Trials in their order, but a free worker never takes one whose own worker is starting.

    Tune would end the worker that starts: with trials shorter than a start, those that came up first would
    run all trials for ever, and the other slots none (https://github.com/ray-project/ray/pull/42951).
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The first pending trial for which no worker is starting; None if there are only such ones."""
        controller = tune_controller._tune_controller
        if not controller._pending_trials:
            return super().choose_trial_to_run(tune_controller)
        without_slot = {None, *controller._actor_manager.pending_actors}
        trials = controller._pending_trials
        without_worker = [trial for trial in trials if controller._trial_to_actor.get(trial) in without_slot]
        return min(without_worker, key=number, default=None)


def number(trial: Any) -> int:
    """A trial's number in the order of their making: Tune begins the tag of each with it."""
    return int(trial.experiment_tag.partition("_")[0])


class Asha(InOrder, ASHAScheduler):
    """Asynchronous successive halving (arXiv:1810.05934)."""


class MedianStopping(InOrder, MedianStoppingRule):
    """Stops what is worse than the median of running averages, as Google Vizier does."""
