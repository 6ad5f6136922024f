"""The grid command: every cell of a spec trained, analysed and drawn; the same again resumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from tune_mnist.running.resources import Resources
from tune_mnist.running.watching.tracking import Tracking
from tune_mnist.shell.arguments import fields_of
from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.choices import Download
from tune_mnist.spec.places import STORAGE, check_storage_name
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.study import StudySpec, check_study_name
from tune_mnist.spec.toml import read_spec

DESCRIPTION = """Train every cell of a grid on Ray Tune; write its tables, the top three and figures.

With no arguments: the report's 192 cells on MNIST. A file ending in .toml gives another grid, and
flags override it. The same command again goes on where it stopped."""


@dataclass(frozen=True, kw_only=True)
class RunArgs:
    """What grid and search let a user say alike: which study, where, and on what."""

    spec: StudySpec | SearchSpec  # first, as --help shows groups in the order of fields
    name: str
    """The study's name; its results land in STORAGE/NAME."""
    storage: Path = STORAGE
    """Folder of the studies, or a bucket: s3://BUCKET/PREFIX, gs://… or az://…."""
    fresh: bool = False
    """Start anew; an earlier study of this name is moved aside, not deleted."""
    download: Download = False
    json: bool = False
    """Print the outcome as one JSON object."""
    resources: Resources = field(default_factory=Resources)
    """What each trial gets, on which machines, and how often it is tried."""
    tracking: Tracking = field(default_factory=Tracking)
    """Where else the epochs go, besides the study's folder."""

    def __post_init__(self) -> None:
        check_study_name(self.name)
        check_storage_name(self.storage)


@dataclass(frozen=True, kw_only=True)
class GridArgs(RunArgs):
    """A grid and where and how it runs."""

    spec: Annotated[StudySpec, arg(name="")] = field(default_factory=StudySpec)
    name: str = "grid"


def _grid(args: GridArgs) -> int:
    from tune_mnist.grid_experiment import run_grid

    result = run_grid(**fields_of(args, but="json"), keep_ray=False)
    from tune_mnist.reporting.outcome import print_grid

    print_grid(result.folder, result.outcome, args.spec, lambda: result.tables, as_json=args.json)
    return int(result.outcome.some_failed)


def from_toml(path: Path) -> GridArgs:
    """The arguments that a TOML file asks for."""
    return GridArgs(spec=read_spec(path))


main = command("grid", GridArgs, _grid, DESCRIPTION, from_toml)

if __name__ == "__main__":
    leave(main())
