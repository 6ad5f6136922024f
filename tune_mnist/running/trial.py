"""The Ray trainable: a config to `fit` to `tune.report`, every epoch saved in the study first."""

from __future__ import annotations

import contextlib
import gc
import math
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple

import torch
from ray import tune

from tune_mnist.running.chains import group_label, groups_of
from tune_mnist.running.gpu import gpu_share, is_out_of_memory
from tune_mnist.running.titles import title
from tune_mnist.running.trial_data import TrialData
from tune_mnist.spec.errors import Damaged
from tune_mnist.spec.own.loading import place_of_error
from tune_mnist.spec.training import PREFIX, Context, PlannedTraining, TrainingConfig, training_key
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress, TrainingFolder, diverged
from tune_mnist.training.loop import EpochMetrics, PackTraining, Training, fit
from tune_mnist.training.steps.pack import SLOTS, common_part

KEPT_BUDGETS = 3
OF_CODE = (
    TypeError, AttributeError, NameError, LookupError, ValueError, ArithmeticError, AssertionError, ImportError,
    NotImplementedError,
)
"""Exceptions that code of a model raises every time, so that trying again is no use."""
OUT_OF_MEMORY = "out_of_memory"
"""In what a trial reports last when its share of the GPU was too small: the traceback."""
BROKEN = "broken"
"""In what a trial reports last when its model's code failed as it would again: the error's line and the traceback."""


class PackEpoch(NamedTuple):
    """An epoch of a pack, or all that was known before: rows, each with its member's number, and what saves them.

    A save tells whether the rows are kept for good, or wait for the next ones.
    """

    rows: list[tuple[int, dict[str, Any]]]
    saves: dict[int, Future[bool]]


def run_trial(config: dict[str, Any], *, data: TrialData, context: Context, study: Study) -> None:
    """Train a trial's groups of trainings, resuming from and saving to each one's folder of `study`.

    Reports one row per training and epoch, with the training's key and its number in the trial as `member`:
    those of the store first, so that Ray sees every trial whole.
    """
    if not gc.get_freeze_count():
        gc.freeze()  # or each full collection walks through all that torch and Ray have loaded, for 0.15 s
    share = tune.get_context().get_trial_resources().required_resources.get("GPU", 0.0)
    first = 0  # the number of the group's first member
    for group in groups_of(config):
        title.set(group_label([plan.config for plan in group]))
        try:
            with gpu_share(share, context.device):
                run_group(group, first, data, context, study)
        except Exception as error:
            own = group[0].config.source
            if is_out_of_memory(error):  # of the GPU: no use in trying again with the same share
                tune.report({OUT_OF_MEMORY: traceback.format_exc()})
            elif own is not None and isinstance(error, OF_CODE):
                tune.report({BROKEN: [place_of_error(error, own.source.files), traceback.format_exc()]})
            else:
                raise
        first += len(group)


def run_group(group: Sequence[PlannedTraining], first: int, data: TrialData, context: Context, study: Study) -> None:
    """Train trainings of a trial that run together and report their rows; the first is the trial's member `first`."""
    keys = [training_key(plan.config, context) for plan in group]
    folders = [study.training(key) for key in keys]
    with contextlib.closing(run_members(group, data, context, folders)) as rows:
        for k, row in rows:
            tune.report({"key": keys[k], "member": first + k, "diverged": diverged([row]), **_metrics(row)})


def run_members(
    members: Sequence[PlannedTraining], data: TrialData, context: Context, folders: Sequence[TrainingFolder]
) -> Generator[tuple[int, dict[str, Any]]]:
    """Run a trial's trainings, alone or in packs, yielding the rows of each with its number."""
    if len(members) == 1:
        yield from ((0, row) for row in run_training(members[0], data, context, folders[0]))
        return
    packs = [
        _numbered(numbers, run_pack([members[k] for k in numbers], data, context, [folders[k] for k in numbers]))
        for numbers in packs_of(members, context.device)
    ]
    yield from once_saved(side_by_side(packs))


def packs_of(members: Sequence[PlannedTraining], device: str) -> list[list[int]]:
    """The members' numbers in the packs that train them; on the CPU in one, as they share their batches."""
    if device != "cuda":
        return [list(range(len(members)))]
    groups: dict[TrainingConfig, list[int]] = {}
    for k, plan in enumerate(members):
        groups.setdefault(common_part(plan.config), []).append(k)
    return [group[i : i + SLOTS] for group in groups.values() for i in range(0, len(group), SLOTS)]


def _numbered(numbers: Sequence[int], epochs: Iterable[PackEpoch]) -> Generator[PackEpoch]:
    """A pack's epochs, with its members' numbers in the trial."""
    for rows, saves in epochs:
        yield PackEpoch([(numbers[k], row) for k, row in rows], {numbers[k]: save for k, save in saves.items()})


def run_training(
    plan: PlannedTraining, data: TrialData, context: Context, folder: TrainingFolder
) -> Iterator[dict[str, Any]]:
    """Run a training to its largest budget, saving each epoch in `folder` before yielding its row and timings.

    The states after some of the other budgets are kept, too: each may turn out to be a winner's, to be scored.
    The first row also lists as `damage`, if there is any, what was found damaged and set aside.
    """
    with noting_damage() as damage:
        training, progress = resumed(plan.config, data, context, folder)
    notes = {"damage": damage} if damage else {}
    for row in saved_rows(progress):
        yield {**row, **notes}
        notes = {}
    if diverged(progress.rows):
        return
    gpu = on_gpu(context)
    unkept: list[dict[str, Any]] = []
    for metrics in fit(training, plan.epochs):
        row, timing = metrics.row(PREFIX[context.protocol]), {**metrics.timing(), **gpu}
        progress.add(row, timing, training.state())
        unkept.append({**row, **timing, **notes})
        notes = {}
        if folder.save(progress, kept_epochs(plan), last=metrics.diverged or metrics.epoch == plan.epochs):
            yield from unkept
            unkept = []
    folder.finish(kept_epochs(plan))


def on_gpu(context: Context) -> dict[str, str]:
    """What an epoch's timing tells of where it was trained: the GPU's name."""
    return {} if context.device == "cpu" else {"gpu": torch.cuda.get_device_name()}


def kept_epochs(plan: PlannedTraining) -> tuple[int, ...]:
    """The epochs whose states are kept until winners are scored: of the largest budgets only, for the disk's sake."""
    return tuple(sorted(plan.budgets)[-KEPT_BUDGETS:])


def resumed(
    config: TrainingConfig, data: TrialData, context: Context, folder: TrainingFolder, until: int | None = None
) -> tuple[Training, Progress]:
    """The training at its newest state (not after epoch `until`) that loads, or at its start, and what is known."""
    progress = folder.begin(config, context, until)
    while True:
        training = Training(config, data.train, data.evaluation, device=context.device, threads=context.threads)
        if loads(training.load, progress.state):
            return training, progress
        progress = folder.reject(progress, until)


def loads(load: Callable[[bytes], None], state: bytes | None) -> bool:
    """Whether a saved state, if there is one, can be loaded; it then is."""
    try:
        if state is not None:
            load(state)
    except Exception:  # torch raises many kinds; what else is wrong comes back in training
        return False
    return True


def side_by_side(runs: Sequence[Generator[PackEpoch]]) -> Generator[PackEpoch]:
    """The epochs of packs that run beside each other, each one's next being made while one is used.

    A report to the driver waits for its answer. Each run keeps to a thread, with which cuBLAS's handle and workspaces
    stay. At the end every run is closed.
    """
    with contextlib.ExitStack() as stack:
        for run in runs:
            stack.callback(run.close)
        threads = {run: stack.enter_context(ThreadPoolExecutor(1)) for run in runs}
        coming = {threads[run].submit(next, run, None): run for run in runs}
        while coming:
            for made in wait(coming, return_when=FIRST_COMPLETED).done:
                run = coming.pop(made)
                epoch = made.result()
                if epoch is not None:
                    coming[threads[run].submit(next, run, None)] = run
                    yield epoch


def once_saved(epochs: Iterable[PackEpoch]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The epochs' rows, each epoch's once all of it is saved, and each training's once they are kept for good."""
    unkept: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for rows, saves in epochs:
        waiting = {k for k, kept in results_of(saves).items() if not kept}
        for k, row in rows:
            unkept[k].append(row)
            if k not in waiting:
                yield from ((k, each) for each in unkept.pop(k))


def results_of(saves: Mapping[int, Future[bool]]) -> dict[int, bool]:
    """What the saves return, once all are done; raises what one of them raised."""
    return {k: save.result() for k, save in saves.items()}


def run_pack(
    members: Sequence[PlannedTraining], data: TrialData, context: Context, folders: Sequence[TrainingFolder]
) -> Generator[PackEpoch]:
    """Run trainings that one pack can train, each to its largest budget, as `run_training` does one.

    First come all rows that were saved before. An epoch is saved while the next is trained. What was found damaged is
    listed in the first row of all.
    """
    with noting_damage() as damage:
        pack, progresses = resumed_pack([plan.config for plan in members], data, context, folders)
    notes = {"damage": damage} if damage else {}
    known = [(k, row) for k, progress in enumerate(progresses) for row in saved_rows(progress)]
    if known:
        known[0][1].update(notes)
        notes = {}
        yield PackEpoch(known, {})
    going = {
        k: progress for k, progress in enumerate(progresses)
        if not diverged(progress.rows) and progress.state_epoch < members[k].epochs
    }
    saves: dict[int, Future[bool]] = {}
    gpu = on_gpu(context)
    with ThreadPoolExecutor(len(members)) as beside:  # members' saves, half of which is waiting, wait at once
        for epoch_metrics in fit_pack(pack, going):
            results_of(saves)  # which read what is known of the epochs before
            epoch = PackEpoch([], {})
            for k, metrics in epoch_metrics.items():
                row, timing = metrics.row(PREFIX[context.protocol]), {**metrics.timing(), **gpu}
                state = pack.snapshot(k, metrics.epoch)
                last = metrics.diverged or metrics.epoch == members[k].epochs
                progress, keep = going[k], kept_epochs(members[k])
                epoch.saves[k] = beside.submit(_save, folders[k], progress, row, timing, state, keep, last)
                epoch.rows.append((k, {**row, **timing, **notes}))
                notes = {}
                if last:
                    del going[k]
            saves = epoch.saves
            yield epoch


def _save(
    folder: TrainingFolder, progress: Progress, row: dict[str, Any], timing: dict[str, Any],
    state: Callable[[], bytes], keep: tuple[int, ...], last: bool,
) -> bool:
    progress.add(row, timing, state())
    kept = folder.save(progress, keep, last=last)
    if last:
        folder.finish(keep)
    return kept


def resumed_pack(
    configs: Sequence[TrainingConfig], data: TrialData, context: Context, folders: Sequence[TrainingFolder]
) -> tuple[PackTraining, list[Progress]]:
    """A pack whose members' newest states can be loaded, as `resumed` has it, with what is known of each."""
    progresses = [folder.begin(config, context) for folder, config in zip(folders, configs, strict=True)]
    while True:
        pack = PackTraining(configs, data.train, data.evaluation, device=context.device, threads=context.threads)
        bad = [k for k, progress in enumerate(progresses) if not loads(partial(pack.load, k), progress.state)]
        if not bad:
            return pack, progresses
        for k in bad:
            progresses[k] = folders[k].reject(progresses[k])


def fit_pack(pack: PackTraining, going: Mapping[int, Progress]) -> Iterator[dict[int, EpochMetrics]]:
    """Train on as long as the caller leaves some members in `going`; yields each epoch's metrics by member's number.

    The pack starts where the least advanced stands. The others join, from their saved state, at their own epoch.
    """
    epoch = min((progress.state_epoch for progress in going.values()), default=0)
    joined: set[int] = set()
    while going:
        for k, progress in going.items():
            if progress.state_epoch == epoch and k not in joined:
                joined.add(k)
                if progress.state is not None:
                    pack.load(k, progress.state)
        epoch += 1
        members = sorted(joined & going.keys())
        if members:  # none where the least advanced diverged before the others' epochs came
            yield dict(zip(members, pack.run_epoch(epoch, members), strict=True))


def saved_rows(progress: Progress) -> Iterator[dict[str, Any]]:
    """The rows, with their timings, of the epochs that are not trained again."""
    seconds = {timing["epoch"]: timing for timing in progress.timings}
    for row in progress.rows if diverged(progress.rows) else progress.rows[: progress.state_epoch]:
        yield {**row, **seconds.get(row["epoch"], {})}


@contextlib.contextmanager
def noting_damage() -> Iterator[list[str]]:
    """Collect the block's warnings of damaged files, which nobody would see on a worker's stderr."""
    damage: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Damaged)
        yield damage
    damage += [str(warning.message) for warning in caught if issubclass(warning.category, Damaged)]


def _metrics(row: dict[str, Any]) -> dict[str, Any]:
    """A row as Ray gets it: without the long bit string, and NaN for a loss that is not finite."""
    kept = {name: value for name, value in row.items() if not name.endswith("_correct")}
    return {name: math.nan if value is None else value for name, value in kept.items()}
