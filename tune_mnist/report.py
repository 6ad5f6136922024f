"""The report command: a study's page written again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.errors import require


@dataclass(frozen=True)
class ReportArgs:
    """A study to report on."""

    studies: Positional[tuple[Path, ...]]
    """The study's folder, such as ray_results/report; further studies may supply what its claims lack."""

    def __post_init__(self) -> None:
        require(len(self.studies) > 0, "a study is named", "none", "name its folder, such as ray_results/report")


def _report(args: ReportArgs) -> int:
    from tune_mnist.reporting.publish import write_results
    from tune_mnist.study.study import Study
    from tune_mnist.tables.of_study import tables_of

    study, *others = (Study(folder) for folder in args.studies)
    paths = write_results(study, tables_of(study), [(other.name, tables_of(other)) for other in others])
    print(args.studies[0] / paths[-1].name)
    return 0


main = command(
    "report", ReportArgs, _report, "Write a study's tables, figures and report.html from its trainings alone."
)

if __name__ == "__main__":
    leave(main())
