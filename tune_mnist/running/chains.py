"""Trials of several groups of trainings, run one after another: as many as keep Tune's bookkeeping under a percent."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ray.tune.search import Searcher

from tune_mnist.spec.training import PlannedTraining, TrainingConfig, trainings_of, trial_config

TRIAL_SECONDS = 30.0
"""How long a trial of short trainings is made to last: to end one and start the next takes its slot 0.23 s."""
MOST_GROUPS = 100
"""In a trial, for the sake of its config's size: Tune writes it with each result."""
PER_SLOT = 3
"""A trial has at most this part of what each slot still has to do, so that the last are short and all slots end alike.
"""

Group = list[PlannedTraining]
"""Trainings that are run together: one, or a pack."""


class Waiting(NamedTuple):
    """A group that is to be trained, and whether it must be a trial of its own."""

    group: Group
    alone: bool = False


def chain_config(groups: Sequence[Group]) -> dict[str, Any]:
    """The config of a trial that runs these groups in their order: of one `trial_config`, of several their `chain`.

    There every training but the first has only what it has otherwise than the first.
    """
    if len(groups) == 1:
        return trial_config(groups[0])
    first = trial_config([groups[0][0]])
    members = [[trial_config([plan]) for plan in group] for group in groups]
    shorter = [
        [{name: value for name, value in each.items() if name not in first or value != first[name]} for each in group]
        for group in members
    ]
    shorter[0][0] = first
    return {"chain": shorter}


def groups_of(config: dict[str, Any]) -> list[Group]:
    """The groups of a Ray trial of this config, in the order in which they are run."""
    if "chain" not in config:
        return [trainings_of(config)]
    first = config["chain"][0][0]
    return [[plan for each in group for plan in trainings_of({**first, **each})] for group in config["chain"]]


_known: weakref.WeakKeyDictionary[Any, list[Group]] = weakref.WeakKeyDictionary()


def groups_in(trial: Any) -> list[Group]:
    """The groups of a trial; made once, as its every event asks for them."""
    groups = _known.get(trial)
    if groups is None:
        groups = _known[trial] = groups_of(trial.config)
    return groups


def plans_of(trial: Any) -> list[PlannedTraining]:
    """The trial's trainings, in the order of their numbers as members."""
    return [plan for group in groups_in(trial) for plan in group]


def configs_of(trial: Any) -> list[TrainingConfig]:
    """The configs of the trial's trainings."""
    return [plan.config for plan in plans_of(trial)]


def current_group(trial: Any, is_over: Callable[[TrainingConfig], bool]) -> list[TrainingConfig]:
    """The configs of the group that the trial runs, given which trainings have ended; none at its end."""
    for group in groups_in(trial):
        if not all(is_over(plan.config) for plan in group):
            return [plan.config for plan in group]
    return []


def group_label(configs: Sequence[TrainingConfig]) -> str:
    """A short readable name of trainings: the first one's, and how many more there are."""
    first, *others = configs
    return f"{first.label}+{len(others)}" if others else first.label


class Chains(Searcher):
    """Hands out the waiting groups in their order, each trial as many as fit into its time, as soon as that is known.

    `seconds_of` tells what a training will take, None as long as nothing like it was seen.
    """

    def __init__(
        self, waiting: Sequence[Waiting], slots: int, seconds_of: Callable[[PlannedTraining], float | None]
    ) -> None:
        super().__init__()
        self.waiting, self.slots, self.seconds_of = deque(waiting), max(1, slots), seconds_of

    def suggest(self, trial_id: str) -> Any:
        if not self.waiting:
            return Searcher.FINISHED
        return chain_config([self.waiting.popleft().group] if self.waiting[0].alone else list(self._next_groups()))

    def _next_groups(self) -> Iterator[Group]:
        share = len(self.waiting) / (PER_SLOT * self.slots)
        most, seconds = min(MOST_GROUPS, share), 0.0
        taken = 0
        while self.waiting and not (taken and self.waiting[0].alone):
            more = self._seconds(self.waiting[0].group)
            if taken and (more is None or taken + 1 > most or seconds + more > TRIAL_SECONDS):
                return
            yield self.waiting.popleft().group
            taken += 1
            seconds += TRIAL_SECONDS if more is None else more

    def _seconds(self, group: Group) -> float | None:
        """What a group will take, as its trainings' epochs share the trial's time; None if that is not known."""
        seconds = [self.seconds_of(plan) for plan in group]
        known = [each for each in seconds if each is not None]
        return sum(known) if len(known) == len(seconds) else None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing to learn: the seconds of epochs come from the reports."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the study is the truth about what is done."""
