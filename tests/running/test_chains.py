"""Tests of trials that run several groups of trainings one after another: how many, in which order, and whose they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher
from rich.console import Console

from tune_mnist.running import chains
from tune_mnist.running.chains import TRIAL_SECONDS, Chains, Group, Waiting, chain_config, groups_in, groups_of
from tune_mnist.running.resources import Resources
from tune_mnist.running.supervisor import Watch
from tune_mnist.running.trial import OUT_OF_MEMORY
from tune_mnist.running.watching.display import Display
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, PlannedTraining, trial_config
from tune_mnist.study.progress import RunState
from tune_mnist.study.study import Study

LRS = tuple(1e-4 * (1 + step) for step in range(200))
PLANS = StudySpec(models=("SimpleNN",), lr=LRS, batch_size=(32,), epochs=(1, 2)).trainings()
PACKS: list[Group] = [PLANS[:1], PLANS[1:3], PLANS[3:4]]
CONTEXT = Context(protocol="holdout", data_sha256="ab" * 32)


class FakeTrial:
    """As much of a trial of Tune's as is looked at."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.config, self.error_file = config, folder / "error.txt"
        self.temporary_state = SimpleNamespace(ray_actor=SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda: "one")))


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    study = Study(tmp_path / "study")
    study.folder.mkdir()
    study.create()
    return Watch(Display(RunState(PLANS[:4], "val_accuracy"), Console(quiet=True)), study, CONTEXT, Resources())


def handed_out(searcher: Chains) -> list[list[Group]]:
    configs = iter(lambda: searcher.suggest(""), Searcher.FINISHED)
    return [groups_of(config) for config in configs]


def singles(plans: list[PlannedTraining]) -> list[Waiting]:
    return [Waiting([plan]) for plan in plans]


@pytest.mark.parametrize("groups", [PACKS, PACKS[:1], PACKS[1:2], [PLANS[k : k + 1] for k in range(100)]])
def test_a_trials_config_says_its_groups_and_is_short(groups: list[Group]) -> None:
    config = chain_config(groups)
    assert groups_of(json.loads(json.dumps(config))) == groups
    assert len(json.dumps(config)) < 1000 + 100 * sum(map(len, groups))
    assert config == trial_config(groups[0]) or len(groups) > 1


def test_as_long_as_nothing_is_known_of_seconds_each_group_is_a_trial() -> None:
    assert handed_out(Chains(singles(PLANS), 2, lambda plan: None)) == [[[plan]] for plan in PLANS]


@pytest.mark.parametrize(("seconds", "slots"), [(0.01, 2), (1.0, 1), (1.0, 2), (1.0, 8), (7.0, 2), (100.0, 2)])
def test_short_trainings_are_put_together_until_the_last_ones(seconds: float, slots: int) -> None:
    trials = handed_out(Chains(singles(PLANS), slots, lambda plan: seconds))
    sizes = [len(groups) for groups in trials]
    assert [plan for groups in trials for group in groups for plan in group] == PLANS  # each once, in their order
    most = max(1, min(chains.MOST_GROUPS, len(PLANS) // (chains.PER_SLOT * slots), int(TRIAL_SECONDS / seconds)))
    assert max(sizes) == sizes[0] == most and sorted(sizes, reverse=True) == sizes
    assert sizes[-slots:] == [1] * slots


def test_what_runs_alone_is_a_trial_of_its_own_and_a_pack_takes_the_time_of_all_its_members() -> None:
    waiting = [Waiting([plan], alone=k in (0, 5)) for k, plan in enumerate(PLANS[:10])]
    waiting += [Waiting(PLANS[k : k + 4]) for k in range(10, 130, 4)]
    trials = handed_out(Chains(waiting, 1, lambda plan: 1.0))
    assert [PLANS[0]] in trials[0] and len(trials[0]) == 1
    assert [[PLANS[5]]] in trials
    assert all(sum(map(len, groups)) <= TRIAL_SECONDS for groups in trials)


def report(watch: Watch, trial: Any, member: int, *, diverged: bool = False) -> None:
    epochs = (1,) if diverged else (1, 2)
    for epoch in epochs:
        row = {"member": member, "epoch": epoch, "val_accuracy": 0.9, "diverged": diverged}
        watch.on_trial_result(0, [], trial, row)


def running(watch: Watch) -> list[float]:
    return [config.lr for config in watch.display.state.running]


def test_only_the_group_at_hand_is_shown_as_running(watch: Watch, tmp_path: Path) -> None:
    trial, state = FakeTrial(chain_config(PACKS), tmp_path), watch.display.state
    watch.on_trial_start(0, [], trial)
    assert running(watch) == [LRS[0]]
    report(watch, trial, 0)
    assert running(watch) == [LRS[1], LRS[2]]
    report(watch, trial, 2)
    assert running(watch) == [LRS[1]]
    report(watch, trial, 1, diverged=True)
    assert running(watch) == [LRS[3]] and dict(state.counts) == {"complete": 2, "diverged": 1}
    report(watch, trial, 3)
    watch.on_trial_complete(0, [], trial)
    assert running(watch) == [] and state.counts["complete"] == 3 and state.done_epochs == state.total_epochs == 8


@pytest.mark.parametrize(("finished", "blamed"), [((), [0]), ((0,), [1, 2]), ((0, 1), [2]), ((0, 1, 2), [3])])
def test_a_failure_is_that_of_the_group_at_hand_and_what_was_not_begun_just_waits(
    finished: tuple[int, ...], blamed: list[int], watch: Watch, tmp_path: Path
) -> None:
    trial = FakeTrial(chain_config(PACKS), tmp_path)
    trial.error_file.write_text("Failure # 1 (occurred at x)\nValueError: bad\n")
    watch.on_trial_start(0, [], trial)
    for member in finished:
        report(watch, trial, member)
    watch.on_trial_error(0, [], trial)
    causes = {config.lr: end.cause for config, end in watch.early_ends.items()}
    later = [k for k in range(4) if k not in (*finished, *blamed)]
    assert causes == {LRS[k]: "company" for k in blamed} | {LRS[k]: "not begun" for k in later}
    assert running(watch) == [] and len(watch.display.state.ended) == len(finished)


def test_a_group_for_which_the_gpu_was_too_small_is_left_for_the_next(watch: Watch, tmp_path: Path) -> None:
    trial = FakeTrial(chain_config(PACKS), tmp_path)
    watch.on_trial_start(0, [], trial)
    report(watch, trial, 0)
    watch.on_trial_result(0, [], trial, {OUT_OF_MEMORY: "torch.OutOfMemoryError: CUDA is full"})
    assert running(watch) == [LRS[3]]
    report(watch, trial, 3)
    watch.on_trial_complete(0, [], trial)
    assert {config.lr: end.cause for config, end in watch.early_ends.items()} == dict.fromkeys(LRS[1:3], "GPU memory")
    assert watch.display.state.counts == {"complete": 2}


def test_a_group_has_the_time_of_its_own_members_to_report_an_epoch(watch: Watch, tmp_path: Path) -> None:
    trial = FakeTrial(chain_config(PACKS), tmp_path)
    watch.on_trial_start(0, [], trial)
    assert len(watch.running(trial)) == 1
    report(watch, trial, 0)
    assert len(watch.running(trial)) == 2


def test_the_groups_of_a_trial_are_made_once(tmp_path: Path) -> None:
    trial = FakeTrial(chain_config(PACKS), tmp_path)
    assert groups_in(trial) is groups_in(trial) and groups_in(trial) == PACKS
