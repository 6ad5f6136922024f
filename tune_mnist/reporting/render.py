"""A study's page, report.html, from its template: no network, for screens of any size and for print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jinja2

from tune_mnist.reporting.page import content
from tune_mnist.reporting.predictions import Predictions
from tune_mnist.spec.words.naming import full_name, short_name, value_text
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.text import interval, nats, p_value, percent, points, seeds

TEMPLATE = "report.html"


def report_page(
    study: Study, tables: Tables, figures: Mapping[str, bytes], others: Sequence[tuple[str, Tables]] = (),
    predictions: Predictions | None = None,
) -> bytes:
    """The page of a study, UTF-8: `figures` are its PNGs by name, `others` further studies' names and tables,
    `predictions` its winner's of the test set if they are kept.

    The same study gives the same bytes; what varies between two runs of one spec is in the footer alone.
    Everything is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tune_mnist.reporting", ""), autoescape=True, undefined=jinja2.ChainableUndefined,
    )
    filters = (full_name, interval, nats, p_value, percent, points, seeds, short_name, value_text)
    environment.filters |= {show.__name__: show for show in filters}
    environment.filters["title_of"] = tables.title_of
    page = environment.get_template(TEMPLATE).render(content(study, tables, figures, others, predictions))
    return page.encode(errors="backslashreplace")  # a path of the command's may be no text
