"""The conductor of a search: check, lock, run the trials that are missing, score the winners, write the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune_mnist.experiment import DRAWING, Experiment, check_experiment, open_study, say, score, session, unscored
from tune_mnist.running.resources import Resources
from tune_mnist.running.surroundings import give_home
from tune_mnist.running.watching.tracking import Tracking
from tune_mnist.shell.about import about_run
from tune_mnist.shell.process_state import process_state_kept
from tune_mnist.spec.places import STORAGE, home_expanded
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.words.command_line import command_line
from tune_mnist.study.files import write_atomic
from tune_mnist.study.storage.opening import storage_at

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from tune_mnist.searching.trials import BegunTrial, Trials
    from tune_mnist.tables.analyse import Tables


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The outcome of a search: its folder, the tables of its trainings, its trials and, if asked for, Pareto front."""

    folder: Path
    tables: Tables
    trials: pd.DataFrame
    pareto: pd.DataFrame | None

    def __repr__(self) -> str:
        from tune_mnist.reporting.outcome import in_short

        return in_short(self.folder, self.tables)

    def _repr_html_(self) -> str:
        from tune_mnist.reporting.outcome import as_html

        return as_html(self.folder, self.tables)


@process_state_kept()
def run_search(
    spec: SearchSpec | None = None, *, name: str = "search", storage: Path = STORAGE,
    resources: Resources | None = None, tracking: Tracking | None = None, warm_start: Sequence[Path] = (),
    optuna_storage: str | None = None, fresh: bool = False, download: bool = False, keep_ray: bool = True,
    console: Console | None = None,
) -> SearchResult:
    """Run the trials that the search STORAGE/NAME lacks, score the winners, write tables, figures and page.

    The arguments are those of `python -m tune_mnist.search`; progress goes to `console` (stderr). With `keep_ray` Ray,
    started here, lives on for the next run, until the program ends or calls `ray.shutdown()`.

    Raises:
        UserError: bad input, before anything is written and before Ray starts.
        KeyboardInterrupt: stopped by a signal, with how to go on as its text.
    """
    path, spec, tracking = home_expanded(Path(storage)) / name, spec or SearchSpec(), tracking or Tracking()
    storage_at(path).refuse()  # before the heavy imports: a refusal should be quick
    give_home()
    from rich.console import Console

    from tune_mnist.searching.samplers import make_sampler
    from tune_mnist.searching.storage import check_storage_url
    from tune_mnist.searching.trials import Trials
    from tune_mnist.searching.warm_start import add_sources, check_sources

    console = console or Console(stderr=True)
    tracking.check()
    make_sampler(spec, 0)  # its package may be missing
    if optuna_storage is not None:
        check_storage_url(optuna_storage)
    space = spec.space
    corners = [{"model": model, **settings} for model in space.models for settings in space.corners(model)]
    configs = (spec.planned(settings).config for settings in corners)
    experiment = check_experiment(spec.data_spec(), resources or Resources(), configs=configs, download=download)
    sources = check_sources(warm_start, experiment.context)
    with open_study(path, fresh=fresh) as study:
        trials = Trials(study, spec, experiment.context, optuna_storage, classes=experiment.data.classes)
        study.add(None, experiment.context, about_run())
        study.record_search(command_line(spec, name), over=False)
        add_sources(trials, sources, console)
        say(console, f"{study.name}: {trials.progress()}")
        run_missing_trials(experiment, trials, console, tracking, keep_ray=keep_ray)
        from tune_mnist.reporting.publish import write_results
        from tune_mnist.tables.of_study import tables_of

        study.storage.mirror(study.folder / "tensorboard")
        study.record_search(command_line(spec, name), over=True)
        found = write_search(trials)  # the page shows its figures
        say(console, DRAWING)
        tables = tables_of(study)
        write_results(study, tables)
        return SearchResult(study.path, tables, *found)


def run_missing_trials(
    experiment: Experiment, trials: Trials, console: Console, tracking: Tracking, *, keep_ray: bool = False
) -> None:
    """Run the trials that a search lacks, and score its winners; Ray starts only if there is something to do."""
    try:
        first: BegunTrial | None = trials.next()
        if first is None and not unscored(trials.study):
            return
        with session(experiment, trials.study, console, keep=keep_ray) as data:
            if first is not None:
                from tune_mnist.searching.searcher import run_search_trials

                run_search_trials(
                    trials, first, data, experiment.context, experiment.resources, console, tracking
                )
            score(experiment, trials.study, data, console)
    finally:
        trials.clear_running()


def write_search(trials: Trials) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Write trials.csv, with several objectives pareto.csv, and the trials' figures; return the two tables."""
    from tune_mnist.searching.figures import search_figures
    from tune_mnist.searching.tables import pareto_table, trials_table

    study, table = trials.study, trials_table(trials)
    pareto = pareto_table(trials, table) if len(trials.spec.goals) > 1 else None
    written = []
    for name, frame in (("trials", table), ("pareto", pareto)):
        if frame is not None:
            written.append(study.folder / f"{name}.csv")
            write_atomic(written[-1], frame.to_csv(index=False, lineterminator="\n").encode())
    (study.folder / "figures").mkdir(exist_ok=True)
    for name, png in search_figures(trials).items():
        written.append(study.folder / "figures" / f"{name}.png")
        write_atomic(written[-1], png)
    study.storage.keep(written)
    return table, pareto
