"""The grid command: every cell of a spec trained, analysed and drawn; the same again resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_mnist.cli import leave, parse, print_table, run, spec_from_argv
from tune_mnist.config import StudySpec, check_storage_name, check_study_name
from tune_mnist.resources import Resources
from tune_mnist.tracking import Tracking

if TYPE_CHECKING:
    from rich.console import Console

    from tune_mnist.analysis import Tables

DESCRIPTION = """Train every cell of a grid on Ray Tune; write its tables, the top three and figures.

With no arguments: the report's 192 cells on MNIST. A file ending in .toml gives another grid, and
flags override it. The same command again goes on where it stopped."""


@dataclass(frozen=True, kw_only=True)
class GridArgs:
    """A grid and where and how it runs."""

    spec: StudySpec = field(default_factory=StudySpec)
    resources: Resources = field(default_factory=Resources)
    tracking: Tracking = field(default_factory=Tracking)
    name: str = "grid"
    """The study's name; its results land in STORAGE/NAME."""
    storage: Path = Path("ray_results")
    """Folder of the studies."""
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
class GridResult:
    """The outcome of a grid: its study's folder and tables, and Ray's results of the trials that ran now."""

    folder: Path
    tables: Tables
    result_grid: Any | None
    """Ray's `ResultGrid`; None if the study already held every training."""


def run_grid(args: GridArgs, console: Console | None = None) -> GridResult:
    """Train what the study lacks, score the winners, write tables and figures; progress goes to `console` (stderr).

    Raises:
        UserError: bad input, before anything is written and before Ray starts.
        KeyboardInterrupt: stopped by a signal, with how to go on as its text.
    """
    from tune_mnist.lock import refuse_if_held

    refuse_if_held(args.storage / args.name)  # before the heavy imports: a refusal should be quick

    from rich.console import Console

    from tune_mnist.experiment import check_experiment, open_study, run_experiment

    console = console or Console(stderr=True)
    args.tracking.check()
    experiment = check_experiment(args.spec, args.resources, download=args.download)
    with open_study(args.storage / args.name, fresh=args.fresh) as study:
        tables, results = run_experiment(experiment, study, console, args.tracking)
    return GridResult(study.folder, tables, results)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0, 1 if some trainings failed, 2 on bad input, 130 if interrupted."""
    return run(lambda: _command(argv))


def _command(argv: Sequence[str] | None) -> int:
    spec, words = spec_from_argv(argv)
    args = parse(
        GridArgs, words, prog="python -m tune_mnist.grid", description=DESCRIPTION, default=GridArgs(spec=spec)
    )
    result = run_grid(args)
    if args.json:
        print(json.dumps(outcome(result)))
    else:
        print_tables(result.folder, result.tables)
    return int((result.tables.failed["status"] == "failed").any())


def outcome(result: GridResult) -> dict[str, Any]:
    """The outcome as plain JSON values: folder, number of cells by status, the top three, the failed trainings."""
    tables = result.tables
    return {
        "folder": str(result.folder),
        "cells": tables.results["status"].value_counts().to_dict(),
        "top3": json.loads(tables.top3.to_json(orient="records")),
        "failed": json.loads(tables.failed.to_json(orient="records")),
    }


def print_tables(folder: Path, tables: Tables) -> None:
    """Print the top three, what failed, and where everything is."""
    from tune_mnist.analysis import split_name

    best = tables.top3.head(3).drop(columns=["standing", "difference", "p_adjusted"], errors="ignore")
    print_table(best, f"Top three of {len(tables.results)} cells, by {split_name(tables.protocol)} accuracy")
    if len(tables.top3) > 3:
        ties = len(tables.top3) - 3
        print(f"{ties} more cells are not distinguishable from the third: see top3.csv. {tables.method}")
    if len(tables.failed):
        print_table(tables.failed, "Trainings that diverged or failed")
    print(f"Tables and figures are in {folder}; read {folder / 'report.html'}")


if __name__ == "__main__":
    leave(main())
