"""The analysis command: a study's tables and figures written again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.places import shown


@dataclass(frozen=True)
class AnalysisArgs:
    """A study to analyse."""

    study: Positional[Path]
    """The study's folder, such as ray_results/grid, or s3://BUCKET/PREFIX/NAME."""


def _analysis(args: AnalysisArgs) -> int:
    from tune_mnist.reporting.publish import write_results
    from tune_mnist.study.storage.opening import storage_at
    from tune_mnist.study.study import Study
    from tune_mnist.tables.of_study import tables_of

    study = Study(storage_at(args.study))
    for path in write_results(study, tables_of(study)):
        print(shown(study.storage.path_of(path)))
    return 0


main = command(
    "analysis", AnalysisArgs, _analysis, "Write a study's tables and figures again, from its trainings alone."
)

if __name__ == "__main__":
    leave(main())
