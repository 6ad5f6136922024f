"""The search command: Optuna finds good trainings for a fraction of a grid's epochs; the same again resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_mnist.cli import leave, parse, print_table, run, toml_from_argv
from tune_mnist.config import check_storage_name, check_study_name
from tune_mnist.resources import Resources
from tune_mnist.search_spec import SearchSpec, read_search
from tune_mnist.tracking import Tracking

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from tune_mnist.analysis import Tables
    from tune_mnist.experiment import Experiment
    from tune_mnist.optuna_study import Trials
    from tune_mnist.study import Study

DESCRIPTION = """Search for the best training with Optuna on Ray Tune, stopping poor ones early.

A setting is a range LOW:HIGH, a list of values to choose from, or one value. A file ending in .toml gives
another search, and flags override it. The same command again goes on where it stopped."""


@dataclass(frozen=True, kw_only=True)
class SearchArgs:
    """A search and where and how it runs."""

    spec: SearchSpec = field(default_factory=SearchSpec)
    resources: Resources = field(default_factory=Resources)
    tracking: Tracking = field(default_factory=Tracking)
    name: str = "search"
    """The study's name, also in Optuna's storage; its results land in STORAGE/NAME."""
    storage: Path = Path("ray_results")
    """Folder of the studies."""
    warm_start: tuple[Path, ...] = ()
    """Folders of finished grids or searches whose trainings the search starts from; none is trained again."""
    optuna_storage: str | None = None
    """Database URL for Optuna instead of optuna.db in the study's folder (an SQLite file, for optuna-dashboard)."""
    fresh: bool = False
    """Start anew; an earlier study of this name is moved aside, not deleted."""
    download: bool = False
    """Let torchvision download the data set of --dataset if it is not there."""
    json: bool = False
    """Print the outcome as one JSON object."""

    def __post_init__(self) -> None:
        check_study_name(self.name)
        check_storage_name(self.storage)


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search: its folder, the tables of its trainings, its trials and, if asked for, Pareto front."""

    folder: Path
    tables: Tables
    trials: pd.DataFrame
    pareto: pd.DataFrame | None


def run_search(args: SearchArgs, console: Console | None = None) -> SearchResult:
    """Run the trials the search lacks, score the winners, write tables and figures; progress goes to `console`.

    Raises:
        UserError: bad input, before anything is written and before Ray starts.
        KeyboardInterrupt: stopped by a signal, with how to go on as its text.
    """
    from tune_mnist.lock import refuse_if_held

    refuse_if_held(args.storage / args.name)  # before the heavy imports: a refusal should be quick

    from rich.console import Console

    from tune_mnist.experiment import check_experiment, open_study
    from tune_mnist.optuna_backend import check_storage_url, make_sampler
    from tune_mnist.warm import check_sources

    console = console or Console(stderr=True)
    args.tracking.check()
    make_sampler(args.spec, 0)  # its package may be missing
    if args.optuna_storage is not None:
        check_storage_url(args.optuna_storage)
    experiment = check_experiment(args.spec.data_spec(), args.resources, download=args.download)
    sources = check_sources(args.warm_start, experiment.context)
    with open_study(args.storage / args.name, fresh=args.fresh) as study:
        return _search(args, experiment, study, sources, console)


def _search(
    args: SearchArgs, experiment: Experiment, study: Study, sources: Sequence[Study], console: Console
) -> SearchResult:
    from tune_mnist.about import about_run
    from tune_mnist.optuna_study import Trials
    from tune_mnist.results import tables_of, winners_to_score
    from tune_mnist.warm import warm_start

    trials = Trials(study, args.spec, experiment.context, args.optuna_storage)
    study.add(None, experiment.context, about_run())
    warm_start(trials, sources, console)
    counts = trials.counts()
    told = f"{study.name}: {args.spec.trials} trials: {counts['complete']} complete, {counts['pruned']} stopped early, "
    console.print(f"{told}{counts['fail']} failed, {counts['waiting']} to go on with", highlight=False, soft_wrap=True)
    try:
        first = trials.next()
        if first is not None or winners_to_score(study):
            _run_on_ray(args, experiment, trials, first, console)
    finally:
        trials.settle()
    return write_search(study, trials, tables_of(study))


def _run_on_ray(args: SearchArgs, experiment: Experiment, trials: Trials, first: Any, console: Console) -> None:
    from tune_mnist.experiment import score, session_with_data

    with session_with_data(experiment, console, trials.study.folder) as data:
        if first is not None:
            from tune_mnist.searcher import run_search_trials

            run_search_trials(
                trials, first, data, experiment.context, experiment.resources, console, args.tracking
            )
        score(experiment, trials.study, data, console)


def write_search(study: Study, trials: Trials, tables: Tables) -> SearchResult:
    """Write the study's tables, figures and page, and the search's trials, Pareto front and Optuna's figures."""
    from tune_mnist.files import write_atomic
    from tune_mnist.results import write_results
    from tune_mnist.search_figures import search_figures
    from tune_mnist.search_tables import pareto_table, trials_table

    write_results(study, tables)
    table = trials_table(trials)
    written = {"trials": table}
    if len(trials.spec.goals) > 1:
        written["pareto"] = pareto_table(trials, table)
    for name, frame in written.items():
        write_atomic(study.folder / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n").encode())
    for name, png in search_figures(trials):
        write_atomic(study.folder / "figures" / f"{name}.png", png)
    return SearchResult(study.folder, tables, table, written.get("pareto"))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0, 1 if some trainings failed, 2 on bad input, 130 if interrupted."""
    return run(lambda: _command(argv))


def _command(argv: Sequence[str] | None) -> int:
    path, words = toml_from_argv(argv)
    default = SearchArgs(spec=SearchSpec() if path is None else read_search(path))
    args = parse(SearchArgs, words, prog="python -m tune_mnist.search", description=DESCRIPTION, default=default)
    result = run_search(args)
    if args.json:
        print(json.dumps(outcome(result)))
    else:
        _print_outcome(result)
    return int((result.tables.failed["status"] == "failed").any())


def outcome(result: SearchResult) -> dict[str, Any]:
    """The outcome as plain JSON values: folder, trials by state, top three, Pareto front, failed trainings."""
    def rows(frame: pd.DataFrame | None) -> Any:
        return None if frame is None else json.loads(frame.to_json(orient="records"))

    return {
        "folder": str(result.folder), "trials": result.trials["state"].value_counts().to_dict(),
        "top3": rows(result.tables.top3), "pareto": rows(result.pareto), "failed": rows(result.tables.failed),
    }


def _print_outcome(result: SearchResult) -> None:
    from tune_mnist.grid import print_tables

    states = result.trials["state"].value_counts().to_dict()
    print(f"{len(result.trials)} trials: " + ", ".join(f"{count} {state}" for state, count in states.items()))
    if result.pareto is not None:
        print_table(result.pareto.drop(columns=["state", "training"]), "Pareto front")
    print_tables(result.folder, result.tables)


if __name__ == "__main__":
    leave(main())
