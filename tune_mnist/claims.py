"""The claims command: the report's ten claims judged by a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.errors import require


@dataclass(frozen=True)
class ClaimsArgs:
    """A study whose claims to judge."""

    studies: Positional[tuple[Path, ...]]
    """The study's folder, such as ray_results/report; further studies may supply what it lacks."""
    json: bool = False
    """Print the verdicts as one JSON array."""

    def __post_init__(self) -> None:
        require(len(self.studies) > 0, "a study is named", "none", "name its folder, such as ray_results/report")


def _claims(args: ClaimsArgs) -> int:
    from tune_mnist.reporting.judge import judge, print_judgements
    from tune_mnist.study.study import Study
    from tune_mnist.tables.of_study import tables_of

    tables, *others = (tables_of(Study(folder)) for folder in args.studies)
    print_judgements(judge(tables, others), tables.method, as_json=args.json)
    return 0


main = command("claims", ClaimsArgs, _claims, "Judge the report's claims by a finished study.")

if __name__ == "__main__":
    leave(main())
