"""Two studies compared, printed for people or as plain JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from tune_mnist.spec.words.naming import setting_text, short_name, value_text
from tune_mnist.tables.comparison import Best, Comparison
from tune_mnist.tables.text import interval, p_value, percent, points, print_table
from tune_mnist.training.packing import finite_or_none

FLATTERED = (
    "Each is the best of its study by the very accuracies compared, which flatters it, and the more so the more cells "
    "it was chosen from; test accuracies were measured after the choice."
)
COMMA = ", "
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
    told = [name for name in comparison.along if cells[name].nunique() > 1]
    fixed = [setting_text(name, cells[name].iloc[0]) for name in comparison.along if name not in told]
    names = ", ".join(map(short_name, told)) or "settings"
    print()
    title = f"The best cells with the same {names}{f', all with {COMMA.join(fixed)}' if fixed else ''}"
    print_table(_table(comparison, told, max(SHOWN, differing)), title)
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


def _table(comparison: Comparison, settings: Sequence[str], most: int) -> pd.DataFrame:
    """The first rows of the cells, their `settings` and what was compared, as texts."""
    cells, (first, second) = comparison.cells.head(most), comparison.names
    told = pd.DataFrame({short_name(name): cells[name].map(value_text) for name in settings}, index=cells.index)
    told[first] = cells["first"].map(percent)
    told[second if second != first else f"{second} (2)"] = cells["second"].map(percent)
    told["points"] = cells["difference"].map(points)
    told["p, corrected"] = cells["p_adjusted"].map(lambda p: p_value(p) or "-")
    told["beyond noise"] = cells["beyond_noise"].map({True: "yes", False: "no"})
    return told
