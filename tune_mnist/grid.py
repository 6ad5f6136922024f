"""The grid command: every cell of a spec trained, analysed and drawn; the same again resumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from tune_mnist.running.arguments import RunArgs
from tune_mnist.shell.arguments import fields_of
from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.toml import read_spec

DESCRIPTION = """Train every cell of a grid on Ray Tune; write its tables, the top three and figures.

With no arguments: the report's 192 cells on MNIST. A file ending in .toml gives another grid, and
flags override it. The same command again goes on where it stopped."""


@dataclass(frozen=True, kw_only=True)
class GridArgs(RunArgs):
    """A grid and where and how it runs."""

    spec: Annotated[StudySpec, arg(name="")] = field(default_factory=StudySpec)
    name: str = "grid"


def _grid(args: GridArgs) -> int:
    from tune_mnist.grid_experiment import run_grid

    result = run_grid(**fields_of(args, but="json"))
    from tune_mnist.reporting.outcome import print_grid, some_failed

    print_grid(result.folder, result.tables, as_json=args.json)
    return int(some_failed(result.tables))


def from_toml(path: Path) -> GridArgs:
    """The arguments that a TOML file asks for."""
    return GridArgs(spec=read_spec(path))


main = command("grid", GridArgs, _grid, DESCRIPTION, from_toml)

if __name__ == "__main__":
    leave(main())
