"""A study from spec to results: check, lock, run what is missing, score the winners, analyse."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tune_mnist.about import about_run
from tune_mnist.config import Context, PlannedTraining, StudySpec, require, training_key
from tune_mnist.data import Dataset, TrainingData, load_dataset, training_data
from tune_mnist.files import make_folder, set_aside, writing
from tune_mnist.lock import study_lock
from tune_mnist.resources import Resources
from tune_mnist.study import Study
from tune_mnist.tracking import Tracking

# What is heavy, torch and pandas among it, is imported where it is used: while Ray starts, or after.
if TYPE_CHECKING:
    from ray.tune import ResultGrid

    from tune_mnist.analysis import Tables
    from tune_mnist.batches import Pictures
    from tune_mnist.trial import TrialData

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
def open_study(folder: Path, *, fresh: bool = False) -> Iterator[Study]:
    """The study in `folder`, made if need be, locked for this process; `fresh` first moves an old one aside.

    Nothing is written before the lock is held.

    Raises:
        UserError: the folder cannot be written to, or another run holds the study.
        KeyboardInterrupt: one of the block, with how to go on as its text.
    """
    try:
        if fresh and folder.exists():
            with study_lock(folder), writing(folder):
                set_aside(folder)
        make_folder(folder, parents=True)
        with study_lock(folder):
            study = Study(folder)
            study.create()
            yield study
    except KeyboardInterrupt:
        told = f"stopped; every finished epoch is in {folder}: the same command goes on from there"
        raise KeyboardInterrupt(told) from None


def run_experiment(
    experiment: Experiment, study: Study, console: Console, tracking: Tracking | None = None
) -> tuple[Tables, ResultGrid | None]:
    """Run in the opened `study` what it lacks, score its winners, and write its tables and figures.

    Returns:
        The study's tables, and Ray's results of the trials that ran now, None if there were none.

    Raises:
        KeyboardInterrupt: stopped by a signal; what was finished is in the study.
    """
    study.add(experiment.spec, experiment.context, about_run())
    missing = missing_trainings(study, experiment.spec.trainings(), experiment.context, console)
    if missing or _unscored(study):
        return _run_on_ray(experiment, study, missing, console, tracking)
    return finished(experiment, study), None


def _unscored(study: Study) -> bool:
    from tune_mnist.results import winners_to_score

    return bool(winners_to_score(study))


def _run_on_ray(
    experiment: Experiment, study: Study, missing: Sequence[PlannedTraining], console: Console,
    tracking: Tracking | None,
) -> tuple[Tables, ResultGrid | None]:
    results = None
    with ThreadPoolExecutor(1) as beside:
        with session_with_data(experiment, console, study.folder) as data:
            if missing:
                from tune_mnist.runner import run_trainings

                results = run_trainings(
                    missing, data, experiment.context, study, experiment.resources, console, tracking
                )
            from tune_mnist.results import cell_figures, tables_of

            tables = tables_of(study)
            drawing = beside.submit(cell_figures, tables)  # while winners are scored
            score(experiment, study, data, console, tables)
            writing = beside.submit(finished, experiment, study, drawing)  # while Ray shuts down
        return writing.result(), results


def finished(experiment: Experiment, study: Study, drawing: Future[dict[str, bytes]] | None = None) -> Tables:
    """Tidy the study up, write its tables and figures, of which some may be drawn already, and return the tables."""
    from tune_mnist.results import tables_of, write_results

    study.tidy()
    tables = tables_of(study)
    write_results(study, tables, drawn=drawing.result() if drawing else None, dataset=experiment.dataset)
    return tables


@contextlib.contextmanager
def session_with_data(experiment: Experiment, console: Console, folder: Path) -> Iterator[TrialData]:
    """A `ray_session` with the pictures that every trial needs, which are made while Ray starts."""
    # Only here is Ray needed: a finished study is analysed again without it.
    from tune_mnist.cluster import ray_session

    over = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        pictures = beside.submit(shared_pictures, experiment.data)
        try:
            with ray_session(experiment.resources, console, folder):
                from tune_mnist.trial import TrialData

                data = TrialData(*pictures.result())
                beside.submit(_load_figures, over)
                yield data
        finally:
            over.set()


def _load_figures(over: threading.Event) -> None:
    """Import what the end of a run needs while trials run, unless it is `over`: the end would wait for it."""
    if over.wait(STARTED_SECONDS):
        return
    import tune_mnist.page
    import tune_mnist.plots
    import tune_mnist.results  # noqa: F401


def shared_pictures(data: TrainingData) -> tuple[Pictures, Pictures]:
    """The pictures that every trial needs: those to train on, and those to evaluate on."""
    from tune_mnist.batches import make_pictures

    train, evaluation = (data.train_images, data.train_labels), (data.eval_images, data.eval_labels)
    return make_pictures(*train), make_pictures(*evaluation)


def score(
    experiment: Experiment, study: Study, data: TrialData, console: Console, tables: Tables | None = None
) -> None:
    """Score the study's winners that have no test score yet, by its `tables` if at hand, in an open `ray_session`."""
    from tune_mnist.results import winners_to_score
    from tune_mnist.runner import score_winners

    winners = winners_to_score(study, tables)
    if winners:
        console.print(f"scoring {len(winners)} winners on the test set", highlight=False)
        test = test_pictures(experiment.dataset)
        score_winners(winners, data, test, experiment.context, study, experiment.resources)


def test_pictures(dataset: Dataset) -> Pictures:
    """The data set's test pictures."""
    from tune_mnist.batches import make_pictures

    return make_pictures(dataset.test_images.reshape(len(dataset.test_images), -1), dataset.test_labels)


def missing_trainings(
    study: Study, plans: Sequence[PlannedTraining], context: Context, console: Console
) -> list[PlannedTraining]:
    """The planned trainings that are neither complete nor diverged; says how many there are of each kind."""
    for plan in plans:
        study.training(training_key(plan.config, context)).repair(plan.config, context)
    records = study.records(plans, context)
    missing = [plan for plan, record in zip(plans, records, strict=True) if record.status in ("unfinished", "failed")]
    started = Counter(bool(r.epochs) for r in records if r.status in ("unfinished", "failed"))
    console.print(
        f"{study.name}: {len(plans)} trainings: {len(plans) - len(missing)} done, "
        f"{started[True]} to go on with, {started[False]} to start", highlight=False, soft_wrap=True,
    )
    return missing
