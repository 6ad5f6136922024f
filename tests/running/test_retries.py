"""Tests of how a training is tried next, and of the order in which trainings run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tune_mnist.running.retries import Attempt, Cause, next_attempt, next_round
from tune_mnist.spec.study import StudySpec

PLANS = StudySpec(models=("SimpleNN",), lr=(1e-3,), batch_size=(32,), seeds=5).trainings()


def course(attempt: Attempt, causes: Sequence[Cause], most_kills: int = 3) -> list[Attempt | None]:
    """The attempts that follow one another as each ends for the next of `causes`; None once there is none."""
    found: list[Attempt | None] = []
    for cause in causes:
        following = next_attempt(attempt, cause, most_kills)
        found.append(following)
        if following is None:
            break
        attempt = following
    return found


@pytest.mark.parametrize(
    ("first", "shares"), [(0.25, [0.5, 1.0]), (0.3, [0.6, 1.0]), (0.7, [1.0]), (1.0, []), (2.0, [])]
)
def test_the_share_of_a_gpu_is_doubled_up_to_a_whole_one_which_it_then_has_alone(
    first: float, shares: list[float]
) -> None:
    most = max(first, 1.0)
    assert course(Attempt(first), ["GPU memory"] * 5) == [*map(Attempt, shares), Attempt(most, alone=True), None]


@pytest.mark.parametrize("most_kills", [0, 1, 3])
def test_a_killed_training_is_tried_alone_so_many_times_and_then_has_failed(most_kills: int) -> None:
    attempts = course(Attempt(0.25), ["host memory"] * 9, most_kills=most_kills)
    assert attempts == [*(Attempt(0.25, alone=True, kills=n) for n in range(1, most_kills + 1)), None]


def test_one_of_a_failed_trial_is_tried_alone_however_often() -> None:
    assert course(Attempt(0.25), ["company"] * 9, most_kills=0) == [Attempt(0.25, alone=True)] * 9


@pytest.mark.parametrize("causes", list(itertools.permutations(["GPU memory", "host memory", "company"])))
def test_what_one_cause_changes_the_others_keep(causes: tuple[Cause, ...]) -> None:
    assert course(Attempt(0.25), causes)[-1] == Attempt(0.5, alone=True, kills=1)


def test_the_smallest_shares_run_first_and_the_killed_last() -> None:
    small = Attempt(0.25)
    attempts = dict(zip((plan.config for plan in PLANS), [
        Attempt(0.5), small, replace(small, kills=1), replace(small, alone=True), Attempt(1.0, kills=2)
    ], strict=True))
    waiting, rounds = list(PLANS), []
    while waiting:
        now = next_round(waiting, attempts)
        rounds.append([PLANS.index(plan) for plan in now])
        waiting = [plan for plan in waiting if plan not in now]
    assert rounds == [[1, 3], [0], [2], [4]]


def test_a_round_has_either_killed_trainings_or_others() -> None:
    kinds = [Attempt(share, kills=kills) for share in (0.25, 1.0) for kills in (0, 1, 2)]
    for drawn in itertools.product(kinds, repeat=3):
        attempts = dict(zip((plan.config for plan in PLANS), drawn, strict=False))
        now = next_round(PLANS[:3], attempts)
        assert len({bool(attempts[plan.config].kills) for plan in now}) == 1
        assert len({attempts[plan.config].gpu_share for plan in now}) == 1
