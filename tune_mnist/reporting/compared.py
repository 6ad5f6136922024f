"""Two studies compared, printed for people or as plain JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tune_mnist.spec.words.naming import short_name, value_text
from tune_mnist.tables.comparison import Best, Comparison
from tune_mnist.tables.text import interval, p_value, percent, points, print_table
from tune_mnist.training.packing import finite_or_none

FLATTERED = (
    "Each is the best of its study by the very accuracies compared, which flatters it, and the more so the more cells "
    "it was chosen from; test accuracies were measured after the choice."
)
WIDTH = 80
"""Columns that a table takes where there is no terminal."""
SHOWN = 20
"""Rows shown at least, if there are so many; all that differ beyond noise are."""


def print_comparison(comparison: Comparison, *, as_json: bool = False) -> None:
    """Print a comparison to stdout, in words and a table or as one JSON object."""
    if as_json:
        print(json.dumps(json_of(comparison)))
        return
    for line in _introduction(comparison):
        print(line)
    cells = comparison.cells
    if cells.empty:
        print("\nThe studies have no setting to compare along, as they have no values in common of one that varies.")
        return
    differing = int(cells["beyond_noise"].sum())
    names = ", ".join(map(short_name, comparison.along))
    print()
    print_table(_table(comparison, max(SHOWN, differing)), f"The best cells with the same {names}", width=WIDTH)
    print(
        f"\n{differing} of {len(cells)} shared cells differ beyond noise; "
        f"in the mean {points(cells['difference'].mean())} points"
    )
    first, second = comparison.names
    print(f"only in {first}: {comparison.only_first} cells; only in {second}: {comparison.only_second}")
    print(comparison.method)


def json_of(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain JSON values; a number that is not finite is None."""
    best = comparison.best and [
        {name: finite_or_none(value) if isinstance(value, float) else value for name, value in each._asdict().items()}
        for each in comparison.best
    ]
    difference = {
        name: finite_or_none(value) if isinstance(value, float) else value
        for name, value in comparison.difference.items()
    }
    return {
        "settings": comparison.settings, "best": best, "difference": difference, "along": comparison.along,
        "cells": json.loads(comparison.cells.to_json(orient="records")), "only_first": comparison.only_first,
        "only_second": comparison.only_second, "method": comparison.method,
    }


def _introduction(comparison: Comparison) -> Iterator[str]:
    """What differs between the studies, and their best cells."""
    first, second = comparison.names
    for name, values in comparison.settings.items():
        before, after = (value[:16] if name == "data_sha256" else value for value in values)
        yield f"they differ in {name}: {before} in {first}, {after} in {second}"
    if comparison.best is None:
        return
    yield ""
    for study, best in zip(comparison.names, comparison.best, strict=True):
        yield f"best of {study}: {best.name}, of {best.cells} cells: {percent(best.accuracy)}{_tested(best)}"
    found = comparison.difference
    low, high, p = points(found["ci_low"]), points(found["ci_high"]), p_value(found["p"])
    told = f" (95% interval {low} to {high}; p {p})" if p else ", which cannot be tested: one seed, no predictions kept"
    yield f"best of {second} less best of {first}: {points(found['difference'])} points{told}"
    yield FLATTERED


def _tested(best: Best) -> str:
    if pd.isna(best.test_accuracy):
        return ""
    return f"; on the test set {percent(best.test_accuracy)} ({interval(best.test_low, best.test_high)})"


def _table(comparison: Comparison, most: int) -> pd.DataFrame:
    """The first rows of the cells, as texts."""
    cells, (first, second) = comparison.cells.head(most), comparison.names
    told = pd.DataFrame({short_name(name): cells[name].map(value_text) for name in comparison.along})
    told = told.assign(**{"1st": cells["first"].map(percent), "2nd": cells["second"].map(percent)})
    told = told.rename(columns={"1st": first, "2nd": second} if first != second else {})
    told["points"] = cells["difference"].map(points)
    told["p, corrected"] = cells["p_adjusted"].map(lambda p: p_value(p) or "-")
    told[""] = cells["beyond_noise"].map({True: "beyond noise", False: ""})
    return told
