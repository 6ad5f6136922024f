"""A list of trainings run under Ray Tune until none is missing."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ray
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.search import Searcher
from rich.console import Console

from tune_mnist.running.chains import Chains, Waiting
from tune_mnist.running.nodes import live_nodes, slots
from tune_mnist.running.resources import Resources
from tune_mnist.running.retries import KILLED, Attempt, EarlyEnd, next_attempt, next_round
from tune_mnist.running.scheduling import InOrder, seldom_saved, starting_together
from tune_mnist.running.scoring import score_training
from tune_mnist.running.supervisor import Watch, error_line, label_of
from tune_mnist.running.trial import run_trial
from tune_mnist.running.trial_data import TrialData
from tune_mnist.running.watching.display import Display
from tune_mnist.running.watching.prometheus import Monitor, titled
from tune_mnist.running.watching.tracking import Tracking
from tune_mnist.shell.signals import ending
from tune_mnist.spec.models import cost_of
from tune_mnist.spec.training import PREFIX, Context, PlannedTraining, TrainingConfig, training_key
from tune_mnist.study.progress import RunState
from tune_mnist.study.study import Study
from tune_mnist.training.batches import Pictures
from tune_mnist.training.dataset import CLASSES
from tune_mnist.training.steps.lockstep import common_batches
from tune_mnist.training.steps.pack import SLOTS, common_part
from tune_mnist.training.steps.ways import way_of

MOST_IN_STEP, TRIALS_PER_SLOT = 4, 6
"""On the CPU: how many trainings at most share batches, and how many trials each slot is to have at least."""
PACKS_SIDE_BY_SIDE = 12
"""On a whole GPU: how many packs a trial has at most. Each alone leaves most of it idle."""


def cost_order(plan: PlannedTraining) -> tuple[Any, ...]:
    """Sort key that puts long trainings first, so that no core idles at the end."""
    config = plan.config
    return (-cost_of(config.model), config.batch_size, -plan.epochs, config.lr, config.seed)


def packed(
    plans: Sequence[PlannedTraining], device: str, slots: int, alone: Collection[TrainingConfig] = (),
    classes: int = CLASSES, *, whole_gpu: bool = False,
) -> list[list[PlannedTraining]]:
    """The plans in the groups that are trials, in the order of each group's first; those `alone` by themselves.

    On a GPU the groups are packs and, where a trial has a whole one, up to 12 packs to train side by side. On the CPU
    they share batches, if there are so many trainings for each of the `slots` that these still end at about the same
    time.
    """
    on_gpu = device == "cuda"
    size = SLOTS if on_gpu else max(1, min(MOST_IN_STEP, len(plans) // (TRIALS_PER_SLOT * max(1, slots))))
    groups: dict[tuple[TrainingConfig, bool], list[PlannedTraining]] = {}
    for plan in plans:
        in_common = None
        if size > 1 and plan.config not in alone:
            way = way_of(plan.config, device, classes)
            if way != "autograd":
                in_common = common_part(plan.config) if way == "packs" else common_batches(plan.config)
        groups.setdefault((in_common or plan.config, in_common is not None), []).append(plan)
    found = [
        (group[i : i + size], shares) for (_, shares), group in groups.items() for i in range(0, len(group), size)
    ]
    if not whole_gpu:
        return [group for group, _ in found]
    packs, single = ([group for group, shares in found if shares is wanted] for wanted in (True, False))
    return [*_side_by_side(packs, slots), *single]


def _side_by_side(packs: Sequence[list[PlannedTraining]], slots: int) -> list[list[PlannedTraining]]:
    """The packs dealt out to trials: as many as there are slots, and more where a trial would have more than 12."""
    trials = min(len(packs), max(slots, -(-len(packs) // PACKS_SIDE_BY_SIDE)))
    return [[plan for pack in packs[i::trials] for plan in pack] for i in range(trials)]


def run_trainings(
    plans: Sequence[PlannedTraining], data: TrialData, context: Context, study: Study, resources: Resources,
    console: Console, tracking: Tracking | None = None,
) -> tune.ResultGrid | None:
    """Run the trainings in an open `ray_session`; results go to the study as they come, and where `tracking` says.

    Trainings whose trials ended early are tried again in rounds to come, as `next_attempt` says.

    Returns:
        Ray's results of the last round.

    Raises:
        UserError: the study cannot be written to, or no node can hold a trial any more.
        KeyboardInterrupt: a signal came; every finished epoch is in the study.
    """
    trainable = tune.with_parameters(run_trial, data=data, context=context, study=study)
    waiting, results = sorted(plans, key=cost_order), None
    attempts = {plan.config: Attempt(resources.gpus_per_trial) for plan in plans}
    with Display(RunState(waiting, f"{PREFIX[context.protocol]}_accuracy"), console) as display:
        while waiting:
            now = next_round(waiting, attempts)
            first = attempts[now[0].config]
            watch = Watch(display, study, context, dataclasses.replace(resources, gpus_per_trial=first.gpu_share))
            alone = [config for config, attempt in attempts.items() if attempt.alone]
            over: set[TrainingConfig] = set()
            try:
                at_once = 1 if first.kills else None
                results = _fit(trainable, now, watch, tracking or Tracking(), at_once, alone, data.train.classes)
                over = {plan.config for plan in now} - plan_retries(watch.early_ends, watch, attempts)
            except OutOfMemory as error:
                plan_retries(watch.early_ends, watch, attempts)
                killed = killed_trainings(str(error), watch, waiting)
                plan_retries(dict.fromkeys(killed, EarlyEnd("host memory", str(error))), watch, attempts)
            over |= display.state.ended.keys()
            waiting = [plan for plan in waiting if plan.config not in over]
    return results


def plan_retries(
    ends: Mapping[TrainingConfig, EarlyEnd], watch: Watch, attempts: dict[TrainingConfig, Attempt]
) -> set[TrainingConfig]:
    """Put into `attempts` how trainings that ended early are tried next, and say so; returns them.

    Those that are not tried again are recorded as failed.
    """
    for config, end in ends.items():
        attempt = next_attempt(attempts[config], end.cause, watch.resources.max_failures)
        if attempt is None:
            watch.fail(config, f"{KILLED}\n\n{end.error}" if end.cause == "host memory" else end.error)
            continue
        attempts[config] = attempt
        if end.cause == "GPU memory":
            share = f"{attempt.gpu_share:g} of a GPU{', alone' if attempt.alone else ''}"
            line = f"{error_line(end.error)}: trying again with {share}"
            watch.display.tell(f"{watch.display.state.label(config)}: {line}")
        elif end.cause == "host memory":
            watch.display.tell(f"{watch.display.state.label(config)}: {KILLED}: trying again later, alone")
    return ends.keys() - watch.display.state.ended.keys()


def killed_trainings(error: str, watch: Watch, waiting: Sequence[PlannedTraining]) -> list[TrainingConfig]:
    """Those of the `waiting` trainings whose workers Ray's error says it killed, else all that it may mean."""
    actors = re.findall(r"Selected to kill: \(Actor\((\w+)\)", error)
    named = {config for actor in actors if actor in watch.actors for config in watch.running(watch.actors[actor])}
    running = {config for trial in watch.heard_at for config in watch.running(trial)}
    unfinished = [plan.config for plan in waiting if plan.config not in watch.display.state.ended]
    for meant in (named, running):
        if killed := [config for config in unfinished if config in meant]:
            return killed
    return unfinished


class OutOfMemory(Exception):
    """Ray killed workers for want of memory, and Tune gave up."""


def _fit(
    trainable: Any, plans: Sequence[PlannedTraining], watch: Watch, tracking: Tracking, at_once: int | None,
    alone: Collection[TrainingConfig] = (), classes: int = CLASSES,
) -> tune.ResultGrid:
    most_at_once = slots(watch.resources, live_nodes())
    whole_gpu = watch.resources.gpus_per_trial >= 1
    groups = packed(plans, watch.context.device, most_at_once, alone, classes, whole_gpu=whole_gpu)
    waiting = [Waiting(group, alone=group[0].config in alone) for group in groups]
    chains = Chains(waiting, most_at_once, watch.display.state.training_seconds)
    with starting_together(most_at_once):
        return fit_trials(trainable, chains, len(groups), watch, tracking, at_once)


def fit_trials(
    trainable: Any, searcher: Searcher, trials: int, watch: Watch, tracking: Tracking, at_once: int | None,
    scheduler: InOrder | None = None,
) -> tune.ResultGrid:
    """Run up to `trials` trials of the searcher's configs, `at_once` of them, in an open `ray_session`.

    Raises:
        OutOfMemory: Ray killed a worker for want of memory.
        UserError: the study cannot be written to, or no node can hold a trial any more.
    """
    resources = watch.resources
    nodes: dict[str, Any] = {"bundle_label_selector": [resources.label_selector]} if resources.labels else {}
    scheduler = scheduler or InOrder()
    tuner = tune.Tuner(
        titled(tune.with_resources(trainable, tune.PlacementGroupFactory([resources.demand], **nodes))),
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=scheduler, num_samples=trials, reuse_actors=True,
            max_concurrent_trials=at_once,
            trial_name_creator=trial_name, trial_dirname_creator=trial_name,
        ),
        run_config=tune.RunConfig(
            storage_path=str(watch.study.folder / "ray"), verbose=0,
            name=f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}",
            callbacks=[JsonLoggerCallback(), watch, Monitor(watch), *tracking.callbacks(watch)],
            failure_config=tune.FailureConfig(max_failures=resources.max_failures),
        ),
    )
    try:
        with seldom_saved():
            return tuner.fit()
    except KeyboardInterrupt:
        if not ending():  # the session may be the program's own, and live on
            scheduler.end_trials()
        raise
    except Exception as error:
        if watch.problem is not None:
            raise watch.problem from None
        if isinstance(error.__cause__, ray.exceptions.OutOfMemoryError):
            raise OutOfMemory(str(error.__cause__)) from None
        watch.study.storage.check_writable()  # which says so if that is to blame
        raise


def trial_name(trial: Any) -> str:
    """A readable and unique name: the config's label and the trial's number."""
    return f"{label_of(trial)}-{trial.trial_id.split('_')[-1]}"


def score_winners(
    winners: list[tuple[TrainingConfig, int]], data: TrialData, test: Pictures, context: Context, study: Study,
    resources: Resources,
) -> None:
    """Score trainings at the given epochs on the test set, into the study, in an open `ray_session`.

    Here, where they are at that epoch and this machine's CPU is what trained them; else by Ray, in parallel.
    """
    trained_here = context.device == "cpu" and resources.address is None
    by_ray = []
    for config, epoch in winners:
        folder = study.training(training_key(config, context))
        if trained_here and folder.progress(with_state=True, until=epoch).state_epoch == epoch:
            score_training(config, epoch, data, test, context, study)
        else:
            by_ray.append((config, epoch))
    if by_ray:
        remote = ray.remote(
            num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial, resources=resources.special,
            label_selector=resources.label_selector, max_retries=resources.max_failures,
            max_calls=0,  # any number: with a GPU each call would else have a process of its own, and a CUDA context
        )(score_training)
        shared = ray.put(data), ray.put(test)
        ray.get([remote.remote(config, epoch, *shared, context, study) for config, epoch in by_ray])
