"""What grid and search share: input checked, the study locked, Ray started, the winners scored."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune_mnist.running.resources import Resources
from tune_mnist.running.trial_data import TrialData, test_pictures, trial_data
from tune_mnist.spec.errors import require
from tune_mnist.spec.places import shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context
from tune_mnist.study.storage.opening import storage_at
from tune_mnist.study.study import Study
from tune_mnist.training.dataset import Dataset, TrainingData, load_dataset, training_data

# What is heavy, torch and pandas among it, is imported where it is used: while Ray starts, or after.
if TYPE_CHECKING:
    from rich.console import Console

    from tune_mnist.tables.analyse import Tables

STARTED_SECONDS = 10.0
"""How long after Ray trials have started, too."""


@dataclass(frozen=True)
class Experiment:
    """A spec with its data loaded and everything checked; nothing is written yet."""

    spec: StudySpec
    resources: Resources
    dataset: Dataset
    data: TrainingData
    context: Context


def check_experiment(spec: StudySpec, resources: Resources, *, download: bool = False) -> Experiment:
    """Load the spec's data and check what can be checked before anything is written or Ray is started.

    Raises:
        UserError: bad data files, a batch larger than the training set, or too few CPUs or GPUs.
    """
    resources.check_this_machine()
    dataset = load_dataset(spec.dataset, spec.data, download=download)
    data = training_data(dataset, spec.protocol)
    most = len(data.train_labels)
    for size in spec.batch_size:
        require(size <= most, f"batch_size <= {most}", size, "lower --batch-size")
    context = Context(
        protocol=spec.protocol, data_sha256=data.sha256, device=resources.device, threads=resources.threads
    )
    return Experiment(spec, resources, dataset, data, context)


@contextlib.contextmanager
def open_study(path: Path, *, fresh: bool = False) -> Iterator[Study]:
    """The study at `path`, made if need be, locked for this process; `fresh` first moves an old one aside.

    Nothing is written before the lock is held.

    Raises:
        UserError: `path` cannot be written to, is no study's but not empty, or another run holds the study.
        KeyboardInterrupt: one of the block, with how to go on as its text.
    """
    storage = storage_at(path)
    command, old = "the same command", ""
    try:
        with storage.hold(fresh) as aside:
            if aside is not None:
                command, old = "the same command without --fresh", f"; the old study is in {shown(aside)}"
            study = Study(storage)
            study.create()
            yield study
    except KeyboardInterrupt:
        how = f"stopped; every finished epoch is in {shown(path)}: {command} goes on from there{old}"
        raise KeyboardInterrupt(how) from None


@contextlib.contextmanager
def session(experiment: Experiment, study: Study, console: Console) -> Iterator[TrialData]:
    """A `ray_session` with the pictures that every trial needs, which are made while Ray starts.

    What the end of a run needs is imported while trials run.
    """
    from tune_mnist.running.session import ray_session

    over = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        making = beside.submit(trial_data, experiment.data)
        try:
            with ray_session(experiment.resources, console, study.storage):
                beside.submit(_load_figures, over)
                yield making.result()
        finally:
            over.set()


def _load_figures(over: threading.Event) -> None:
    """Import what draws and writes once trials have started, unless the run is `over`: the end would wait for it."""
    if not over.wait(STARTED_SECONDS):
        import tune_mnist.reporting.publish  # noqa: F401


def unscored(study: Study) -> bool:
    """Whether some of the study's winners have no test score yet."""
    from tune_mnist.tables.of_study import winners_to_score

    return bool(winners_to_score(study))


def score(
    experiment: Experiment, study: Study, data: TrialData, console: Console, tables: Tables | None = None
) -> None:
    """Score the study's winners that have no test score yet, by its `tables` if at hand, in an open session."""
    from tune_mnist.running.runner import score_winners
    from tune_mnist.tables.of_study import winners_to_score

    winners = winners_to_score(study, tables)
    if winners:
        say(console, f"scoring {len(winners)} winners on the test set")
        test = test_pictures(experiment.dataset)
        score_winners(winners, data, test, experiment.context, study, experiment.resources)


def say(console: Console, line: str) -> None:
    """Show a line that stays."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)
