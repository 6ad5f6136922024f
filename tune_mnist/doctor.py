"""The doctor command: whether this machine, or a cluster, is ready for a study, and what to do where not."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_mnist.checks import Check, machine_checks
from tune_mnist.cli import leave, parse, run
from tune_mnist.config import check_storage_name
from tune_mnist.resources import Resources

DESCRIPTION = """Say on one screen whether this machine is ready for a study, and with --address a cluster's every
node; where something is not right, what to do. Exit status: 0 ready, 1 not."""


@dataclass(frozen=True, kw_only=True)
class DoctorArgs:
    """What to look at."""

    address: str | None = None
    """A running Ray cluster (auto or HOST:PORT) to look at, too."""
    storage: Path = Path("ray_results")
    """Folder of the studies."""
    json: bool = False
    """Print one JSON object: ready, and checks with name, value and remedy."""

    def __post_init__(self) -> None:
        Resources(address=self.address)
        check_storage_name(self.storage)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0, 1 if something is not right, 2 on bad input."""
    return run(lambda: _command(argv))


def _command(argv: Sequence[str] | None) -> int:
    args = parse(DoctorArgs, argv, prog="python -m tune_mnist.doctor", description=DESCRIPTION)
    checks = examine(args)
    ready = all(check.remedy is None for check in checks)
    if args.json:
        print(json.dumps({"ready": ready, "checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        show(checks, ready)
    return int(not ready)


def examine(args: DoctorArgs) -> list[Check]:
    """Look at everything; Ray is only imported for a cluster."""
    checks = list(machine_checks(args.storage))
    if args.address is not None:
        from tune_mnist.cluster_checks import cluster_checks

        checks += cluster_checks(args.address, args.storage)
    return checks


def show(checks: Sequence[Check], ready: bool) -> None:
    """Print the checks as a table to stdout, each remedy beside its problem."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "what", "how it stands", "what to do", box=None)
    for check in checks:
        mark = "[green]ok[/]" if check.remedy is None else "[red]no[/]"
        table.add_row(mark, check.name, check.value, check.remedy or "", end_section=False)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print("ready" if ready else "not ready: see what to do", style="bold")


if __name__ == "__main__":
    leave(main())
