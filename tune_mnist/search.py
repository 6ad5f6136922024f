"""The search command: Optuna finds good trainings for a fraction of a grid's epochs; the same again resumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tune_mnist.running.resources import Resources
from tune_mnist.running.tracking import Tracking
from tune_mnist.shell.cli import command, fields_of, leave
from tune_mnist.spec.search import SearchSpec, read_search
from tune_mnist.spec.study import check_storage_name, check_study_name

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


def _search(args: SearchArgs) -> int:
    from tune_mnist.search_experiment import run_search

    result = run_search(**fields_of(args, but="json"))
    from tune_mnist.reporting.outcome import print_search, some_failed

    print_search(result.folder, result.tables, result.trials, result.pareto, as_json=args.json)
    return int(some_failed(result.tables))


def from_toml(path: Path) -> SearchArgs:
    """The arguments that a TOML file asks for."""
    return SearchArgs(spec=read_search(path))


main = command("search", SearchArgs, _search, DESCRIPTION, from_toml)

if __name__ == "__main__":
    leave(main())
