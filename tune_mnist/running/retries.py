"""How a training is tried next whose trial ended early, and which trainings run next. Knows nothing of Ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tune_mnist.spec.training import PlannedTraining, TrainingConfig

Cause = Literal["GPU memory", "host memory", "company", "not begun"]
"""Why a trial's trainings are tried again: their share of a GPU's memory was too small; Ray killed their worker for
want of the machine's memory; the trial failed for good, and which of its several trainings is to blame is not known;
it failed for good before it came to them."""
KILLED = "OutOfMemoryError: Ray ended its worker because the machine ran out of memory"


class EarlyEnd(NamedTuple):
    """Why a trial ended before its trainings did, and the error: a traceback or what Ray says."""

    cause: Cause
    error: str


@dataclass(frozen=True)
class Attempt:
    """How a training is tried next: with which share of a GPU, and whether as a trial of its own.

    `kills` counts how often Ray killed its worker for want of the machine's memory, perhaps for another's appetite: so
    one that was killed runs at the end, while no other trial does.
    """

    gpu_share: float
    alone: bool = False
    kills: int = 0


def next_attempt(attempt: Attempt, cause: Cause, most_kills: int) -> Attempt | None:
    """How to try a training after an attempt that ended for `cause`; None if it has failed for good.

    That is so if a whole GPU's memory was not enough for it alone, or if its worker was killed more than `most_kills`
    times.
    """
    if cause == "GPU memory":
        if attempt.gpu_share < 1:
            return dataclasses.replace(attempt, gpu_share=min(1.0, 2 * attempt.gpu_share))
        return None if attempt.alone else dataclasses.replace(attempt, alone=True)  # others were beside it
    if cause == "host memory":
        killed = dataclasses.replace(attempt, alone=True, kills=attempt.kills + 1)
        return killed if killed.kills <= most_kills else None
    if cause == "not begun":
        return attempt
    return dataclasses.replace(attempt, alone=True)


def next_round(waiting: Sequence[PlannedTraining], attempts: Mapping[TrainingConfig, Attempt]) -> list[PlannedTraining]:
    """The plans to run next: the killed ones last, and of the others those with the smallest share of a GPU first."""
    candidates = [plan for plan in waiting if not attempts[plan.config].kills] or waiting
    smallest = min(attempts[plan.config].gpu_share for plan in candidates)
    return [plan for plan in candidates if attempts[plan.config].gpu_share == smallest]
