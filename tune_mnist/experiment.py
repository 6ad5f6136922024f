"""The conductor of grid and search: check, lock, run what is missing, score the winners, write the results."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune_mnist.running.resources import Resources
from tune_mnist.running.tracking import Tracking
from tune_mnist.running.trial_data import TrialData, session_with_data, test_pictures
from tune_mnist.shell.about import about_run
from tune_mnist.spec.errors import require
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.study import STORAGE, StudySpec
from tune_mnist.spec.training import Context, PlannedTraining, training_key
from tune_mnist.study.files import make_folder, set_aside, writing
from tune_mnist.study.lock import refuse_if_held, study_lock
from tune_mnist.study.study import Study
from tune_mnist.training.dataset import Dataset, TrainingData, load_dataset, training_data

# What is heavy, torch and pandas among it, is imported where it is used: while Ray starts, or after.
if TYPE_CHECKING:
    import pandas as pd
    from ray.tune import ResultGrid
    from rich.console import Console

    from tune_mnist.searching.trials import Asked, Trials
    from tune_mnist.tables.analyse import Tables

STARTED_SECONDS = 10.0
"""How long after Ray trials have started, too."""


@dataclass(frozen=True)
class GridResult:
    """The outcome of a grid: its study's folder and tables, and Ray's results of the trials that ran now."""

    folder: Path
    tables: Tables
    result_grid: ResultGrid | None
    """None if the study already held every training."""


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search: its folder, the tables of its trainings, its trials and, if asked for, Pareto front."""

    folder: Path
    tables: Tables
    trials: pd.DataFrame
    pareto: pd.DataFrame | None


@dataclass(frozen=True)
class Experiment:
    """A spec with its data loaded and everything checked; nothing is written yet."""

    spec: StudySpec
    resources: Resources
    dataset: Dataset
    data: TrainingData
    context: Context


def run_grid(
    spec: StudySpec | None = None, *, name: str = "grid", storage: Path = STORAGE, resources: Resources | None = None,
    tracking: Tracking | None = None, fresh: bool = False, download: bool = False, console: Console | None = None,
) -> GridResult:
    """Train what the study STORAGE/NAME lacks of a grid, score the winners, write tables, figures and page.

    The arguments are those of `python -m tune_mnist.grid`; progress goes to `console` (stderr).

    Raises:
        UserError: bad input, before anything is written and before Ray starts.
        KeyboardInterrupt: stopped by a signal, with how to go on as its text.
    """
    folder, spec, tracking = Path(storage) / name, spec or StudySpec(), tracking or Tracking()
    refuse_if_held(folder)  # before the heavy imports: a refusal should be quick
    console = console or _stderr()
    tracking.check()
    experiment = check_experiment(spec, resources or Resources(), download=download)
    with open_study(folder, fresh=fresh) as study:
        tables, results = run_experiment(experiment, study, console, tracking)
    return GridResult(study.folder, tables, results)


def run_search(
    spec: SearchSpec | None = None, *, name: str = "search", storage: Path = STORAGE,
    resources: Resources | None = None, tracking: Tracking | None = None, warm_start: Sequence[Path] = (),
    optuna_storage: str | None = None, fresh: bool = False, download: bool = False, console: Console | None = None,
) -> SearchResult:
    """Run the trials that the search STORAGE/NAME lacks, score the winners, write tables, figures and page.

    The arguments are those of `python -m tune_mnist.search`; progress goes to `console` (stderr).

    Raises:
        UserError: bad input, before anything is written and before Ray starts.
        KeyboardInterrupt: stopped by a signal, with how to go on as its text.
    """
    folder, spec, tracking = Path(storage) / name, spec or SearchSpec(), tracking or Tracking()
    refuse_if_held(folder)  # before the heavy imports: a refusal should be quick
    from tune_mnist.searching.backend import check_storage_url, make_sampler
    from tune_mnist.searching.trials import Trials
    from tune_mnist.searching.warm_start import check_sources
    from tune_mnist.searching.warm_start import warm_start as enter

    console = console or _stderr()
    tracking.check()
    make_sampler(spec, 0)  # its package may be missing
    if optuna_storage is not None:
        check_storage_url(optuna_storage)
    experiment = check_experiment(spec.data_spec(), resources or Resources(), download=download)
    sources = check_sources(warm_start, experiment.context)
    with open_study(folder, fresh=fresh) as study:
        trials = Trials(study, spec, experiment.context, optuna_storage)
        study.add(None, experiment.context, about_run())
        enter(trials, sources, console)
        _say(console, f"{study.name}: {trials.progress()}")
        run_missing_trials(experiment, trials, console, tracking)
        return _search_result(study, trials)


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
        how = f"stopped; every finished epoch is in {folder}: the same command goes on from there"
        raise KeyboardInterrupt(how) from None


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
    if not missing and not _unscored(study):
        return finished(experiment, study), None
    results = None
    with ThreadPoolExecutor(1) as beside:
        with _session(experiment, study, console) as data:
            if missing:
                from tune_mnist.running.runner import run_trainings

                results = run_trainings(
                    missing, data, experiment.context, study, experiment.resources, console, tracking
                )
            from tune_mnist.reporting.publish import cell_figures
            from tune_mnist.tables.of_study import tables_of

            tables = tables_of(study)
            drawing = beside.submit(cell_figures, tables)  # while winners are scored
            score(experiment, study, data, console, tables)
            writing_results = beside.submit(finished, experiment, study, drawing)  # while Ray shuts down
        return writing_results.result(), results


def run_missing_trials(experiment: Experiment, trials: Trials, console: Console, tracking: Tracking) -> None:
    """Run the trials that a search lacks, and score its winners; Ray starts only if there is something to do."""
    try:
        first: Asked | None = trials.next()
        if first is None and not _unscored(trials.study):
            return
        with _session(experiment, trials.study, console) as data:
            if first is not None:
                from tune_mnist.searching.searcher import run_search_trials

                run_search_trials(
                    trials, first, data, experiment.context, experiment.resources, console, tracking
                )
            score(experiment, trials.study, data, console)
    finally:
        trials.settle()


def finished(experiment: Experiment, study: Study, drawing: Future[dict[str, bytes]] | None = None) -> Tables:
    """Tidy the study up, write its tables and figures, of which some may be drawn already, and return the tables."""
    from tune_mnist.reporting.publish import write_results
    from tune_mnist.tables.of_study import tables_of

    study.tidy()
    tables = tables_of(study)
    write_results(study, tables, drawn=drawing.result() if drawing else None, dataset=experiment.dataset)
    return tables


def missing_trainings(
    study: Study, plans: Sequence[PlannedTraining], context: Context, console: Console
) -> list[PlannedTraining]:
    """The planned trainings that are neither complete nor diverged; says how many there are of each kind."""
    for plan in plans:
        study.training(training_key(plan.config, context)).repair(plan.config, context)
    records = study.records(plans, context)
    missing = [plan for plan, record in zip(plans, records, strict=True) if record.status in ("unfinished", "failed")]
    begun = Counter(bool(record.epochs) for record in records if record.status in ("unfinished", "failed"))
    done = len(plans) - len(missing)
    _say(
        console,
        f"{study.name}: {len(plans)} trainings: {done} done, {begun[True]} to go on with, {begun[False]} to start",
    )
    return missing


def score(
    experiment: Experiment, study: Study, data: TrialData, console: Console, tables: Tables | None = None
) -> None:
    """Score the study's winners that have no test score yet, by its `tables` if at hand, in an open session."""
    from tune_mnist.running.runner import score_winners
    from tune_mnist.tables.of_study import winners_to_score

    winners = winners_to_score(study, tables)
    if winners:
        _say(console, f"scoring {len(winners)} winners on the test set")
        test = test_pictures(experiment.dataset)
        score_winners(winners, data, test, experiment.context, study, experiment.resources)


def _unscored(study: Study) -> bool:
    from tune_mnist.tables.of_study import winners_to_score

    return bool(winners_to_score(study))


def _search_result(study: Study, trials: Trials) -> SearchResult:
    from tune_mnist.reporting.publish import write_results
    from tune_mnist.searching.publish import write_search
    from tune_mnist.tables.of_study import tables_of

    tables = tables_of(study)
    write_results(study, tables)
    return SearchResult(study.folder, tables, *write_search(study, trials))


@contextlib.contextmanager
def _session(experiment: Experiment, study: Study, console: Console) -> Iterator[TrialData]:
    """A `session_with_data` in which what the end of a run needs is imported while trials run."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        try:
            with session_with_data(experiment.data, experiment.resources, console, study.folder) as data:
                beside.submit(_load_figures, over)
                yield data
        finally:
            over.set()


def _load_figures(over: threading.Event) -> None:
    """Import what draws and writes once trials have started, unless the run is `over`: the end would wait for it."""
    if not over.wait(STARTED_SECONDS):
        import tune_mnist.reporting.publish  # noqa: F401


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)


