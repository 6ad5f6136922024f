"""A study folder to one self-contained page, report.html: no network, for screens of any size and for print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from tune_mnist.cli import leave, parse, run

if TYPE_CHECKING:
    from tune_mnist.analysis import Tables
    from tune_mnist.study import Study

TEMPLATE = "report.html"


def report_page(
    study: Study, tables: Tables, figures: Mapping[str, bytes], others: Sequence[tuple[str, Tables]] = ()
) -> bytes:
    """The page of a study, UTF-8: `figures` are its PNGs by name, `others` further studies' names and tables.

    The same study gives the same bytes; what varies between two runs of one spec is in the footer alone.
    """
    from tune_mnist.config import StudySpec
    from tune_mnist.page import content
    from tune_mnist.spec_file import from_mapping

    described = study.describe()
    specs = [from_mapping(StudySpec, spec, study.name) for spec in described["specs"]]
    return render(content(study.name, described, specs, tables, figures, others)).encode()


def render(values: Mapping[str, Any]) -> str:
    """The template filled with `values`; everything is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tune_mnist", ""), autoescape=True, undefined=jinja2.ChainableUndefined,
    )
    return environment.get_template(TEMPLATE).render(values)


@dataclass(frozen=True)
class ReportArgs:
    """A study to report on."""

    studies: Positional[tuple[Path, ...]]
    """The study's folder, such as ray_results/report; further studies may supply what its claims lack."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write a study's tables, figures and report.html from its trainings alone."""
    return run(lambda: _command(argv))


def _command(argv: Sequence[str] | None) -> int:
    args = parse(ReportArgs, argv, prog="python -m tune_mnist.report", description=str(main.__doc__))
    from tune_mnist.config import require
    from tune_mnist.results import tables_of, write_results
    from tune_mnist.study import Study

    require(len(args.studies) > 0, "a study is named", "none", "name its folder, such as ray_results/report")
    study, *others = (Study(folder) for folder in args.studies)
    write_results(study, tables_of(study), [(other.name, tables_of(other)) for other in others])
    print(args.studies[0] / TEMPLATE)
    return 0


if __name__ == "__main__":
    leave(main())
