"""The search command: Optuna finds good trainings for a fraction of a grid's epochs; the same again resumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from tune_mnist.grid import RunArgs
from tune_mnist.shell.arguments import fields_of
from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.toml import read_search

DESCRIPTION = """Search for the best training with Optuna on Ray Tune, stopping poor ones early.

A setting is a range LOW:HIGH, a list of values to choose from, or one value. A file ending in .toml gives
another search, and flags override it. The same command again goes on where it stopped."""


@dataclass(frozen=True, kw_only=True)
class SearchArgs(RunArgs):
    """A search and where and how it runs."""

    spec: Annotated[SearchSpec, arg(name="")] = field(default_factory=SearchSpec)
    name: str = "search"
    """The study's name, also in Optuna's storage; its results land in STORAGE/NAME."""
    warm_start: tuple[Path, ...] = ()
    """Folders of finished grids or searches whose trainings the search starts from; none is trained again."""
    optuna_storage: str | None = None
    """Database URL for Optuna instead of optuna.db in the study's folder (an SQLite file, for optuna-dashboard)."""


def _search(args: SearchArgs) -> int:
    from tune_mnist.search_experiment import run_search

    result = run_search(**fields_of(args, but="json"), keep_ray=False)
    from tune_mnist.reporting.outcome import outcome_of, print_search

    outcome = outcome_of(result.tables)
    print_search(result.folder, outcome, result.trials, result.pareto, as_json=args.json)
    return int(outcome.some_failed)


def from_toml(path: Path) -> SearchArgs:
    """The arguments that a TOML file asks for."""
    return SearchArgs(spec=read_search(path))


main = command("search", SearchArgs, _search, DESCRIPTION, from_toml)

if __name__ == "__main__":
    leave(main())
