"""The claims command: the report's ten claims judged by a study."""

from __future__ import annotations

from dataclasses import dataclass

from tune_mnist.report import ReportArgs
from tune_mnist.shell.cli import command, leave


@dataclass(frozen=True)
class ClaimsArgs(ReportArgs):
    """A study whose claims to judge."""

    json: bool = False
    """Print the verdicts as one JSON array."""


def _claims(args: ClaimsArgs) -> int:
    from tune_mnist.reporting.judge import judge, print_judgements
    from tune_mnist.study.storage.opening import storage_at
    from tune_mnist.study.study import Study
    from tune_mnist.tables.of_study import tables_of

    tables, *others = (tables_of(Study(storage_at(path))) for path in args.studies)
    print_judgements(judge(tables, others), tables.method, as_json=args.json)
    return 0


main = command("claims", ClaimsArgs, _claims, "Judge the report's claims by a finished study.")

if __name__ == "__main__":
    leave(main())
