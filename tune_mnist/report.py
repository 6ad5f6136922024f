"""The report command: a study's page written again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.errors import require
from tune_mnist.spec.places import shown


@dataclass(frozen=True)
class ReportArgs:
    """A study to report on."""

    studies: Positional[tuple[Path, ...]]
    """The study, such as ray_results/report or s3://BUCKET/PREFIX/NAME; others may supply what its claims lack."""

    def __post_init__(self) -> None:
        require(len(self.studies) > 0, "a study is named", "none", "name its folder, such as ray_results/report")


@dataclass(frozen=True)
class PageArgs(ReportArgs):
    """A study to report on, and where."""

    to: Path | None = None
    """Copy the study, from a bucket for example, into this folder, and write there; states are left behind."""


def _report(args: PageArgs) -> int:
    from tune_mnist.reporting.publish import write_results
    from tune_mnist.study.copies import copied
    from tune_mnist.study.storage.opening import storage_at
    from tune_mnist.study.study import Study
    from tune_mnist.tables.of_study import tables_of

    study, *others = (Study(storage_at(path)) for path in args.studies)
    if args.to is not None:
        study = copied(study, args.to)
    paths = write_results(study, tables_of(study), [(other.name, tables_of(other)) for other in others])
    print(shown((args.to or args.studies[0]) / paths[-1].name))
    return 0


main = command(
    "report", PageArgs, _report, "Write a study's tables, figures and report.html from its trainings alone."
)

if __name__ == "__main__":
    leave(main())
