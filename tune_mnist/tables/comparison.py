"""Two studies side by side: the cells both have, by how much they differ, and whether beyond noise."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.places import shown
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import Cells, complete, on_other_pictures, on_these_pictures
from tune_mnist.tables.of_study import tables_of
from tune_mnist.tables.statistics.difference import LEVEL, Difference
from tune_mnist.tables.statistics.significance import adjusted, compare_networks
from tune_mnist.tables.text import cell_name, p_value, percent, points

CELL = ["model", "lr", "batch_size", "epochs"]


@dataclass(frozen=True)
class Comparison:
    """Two studies compared."""

    cells: pd.DataFrame
    """One row per shared cell: model, lr, batch_size, epochs, first and second (mean accuracies over the seeds
    compared), difference (second less first) with ci_low and ci_high, p, p_adjusted, beyond_noise; those beyond
    noise first, then by size."""
    only_first: int
    only_second: int
    method: str
    names: tuple[str, str] = ("first", "second")
    """The studies' names."""
    settings: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Settings apart from the cells' own in which the studies differ, and what each has."""


def compare_studies(first: Tables, second: Tables, *, same_pictures: bool) -> Comparison:
    """Compare the complete cells of two studies that agree in model, lr, batch_size and epochs, accuracies in [0, 1].

    Where a study varies further settings, its best such cell counts. `same_pictures`: both were evaluated on the
    same pictures in the same order, so that predictions pair.
    """
    firsts, seconds = _best(first), _best(second)
    shared = [cell for cell in firsts if cell in seconds]
    pairs = [_accuracies(firsts[cell], seconds[cell], same_pictures) for cell in shared]
    compared = adjusted([
        _compare(seconds[cell], firsts[cell], after, before, same_pictures)
        for cell, (before, after) in zip(shared, pairs, strict=True)
    ])
    means = [(*cell, *(accuracy.value for accuracy in pair)) for cell, pair in zip(shared, pairs, strict=True)]
    cells = pd.concat([pd.DataFrame(means, columns=[*CELL, "first", "second"]), compared], axis=1)
    cells["beyond_noise"] = cells["p_adjusted"] < LEVEL
    order = cells.assign(size=-cells["difference"].abs(), within_noise=~cells["beyond_noise"])
    cells = cells.loc[order.sort_values(["within_noise", "size"], kind="stable").index].reset_index(drop=True)
    tests = ", ".join(sorted(set(cells["test"]) - {""}))
    return Comparison(cells, len(firsts) - len(shared), len(seconds) - len(shared), METHODS.get(tests, tests))


METHODS = {
    "t": "Welch's t tests over seeds, their noise moderated by that of the leaders (Smyth 2004), with Holm's "
         "correction at 5%",
    "t over pictures": "different pictures: Welch's t tests over seeds and pictures, the seeds' noise moderated by "
                       "that of the leaders (Smyth 2004), with Holm's correction at 5%",
    "McNemar": "one seed: exact McNemar tests on the same pictures, with Holm's correction at 5%; they tell these "
               "networks apart, not what another seed would do",
    "Fisher": "one seed, on different pictures: Fisher's exact tests on the numbers of pictures right, with Holm's "
              "correction at 5%; they tell these networks apart, not what another seed would do",
    "": "no cell could be tested: neither seeds nor predictions in common",
}


def _best(tables: Tables) -> dict[tuple[Any, ...], Cells]:
    """Of each (model, lr, batch_size, epochs) the best complete cell."""
    cells = complete(tables)
    best: dict[tuple[Any, ...], Cells] = {}
    for place, cell in enumerate(cells.rows[CELL].itertuples(index=False, name=None)):
        best.setdefault(cell, Cells(tables, cells.rows.iloc[[place]]))
    return best


def _accuracies(first: Cells, second: Cells, same_pictures: bool) -> tuple[Difference, Difference]:
    """Both cells' accuracies as other seeds, and on different pictures other pictures, would have them.

    On the same pictures by the seeds that they share, or by all of them if they share none.
    """
    if not same_pictures:
        return on_other_pictures(first)[0], on_other_pictures(second)[0]
    samples = first.samples()[0], second.samples()[0]
    shared = sorted(samples[0].keys() & samples[1].keys())
    accuracies = []
    for cells, sample in zip((first, second), samples, strict=True):
        whole, seeds = on_these_pictures(cells)[0], shared or sorted(sample)
        mean = math.fsum(sample[seed].accuracy for seed in seeds) / len(seeds)
        accuracies.append(Difference(mean, whole.error * math.sqrt(len(sample) / len(seeds)), whole.df))
    return accuracies[0], accuracies[1]


def _compare(
    first: Cells, second: Cells, one: Difference, other: Difference, same_pictures: bool
) -> dict[str, Any]:
    """Compare two cells, first less second, by their accuracies over seeds if both have several, or as two networks."""
    if math.isnan(one.error) or math.isnan(other.error):
        return compare_networks(first.samples()[0], second.samples()[0], same_pictures=same_pictures)
    difference = one.less(other, "t" if same_pictures else "t over pictures")
    low, high = difference.interval()
    return {
        "difference": difference.value, "ci_low": low, "ci_high": high, "p": difference.p(), "test": difference.test,
    }


def compare_folders(first: Study, second: Study) -> Comparison:
    """Compare two studies by their folders, on the same pictures if both have the same data.

    Raises:
        UserError: one is no study, or they share no complete cell.
    """
    same = first.context().data_sha256 == second.context().data_sha256
    comparison = compare_studies(tables_of(first), tables_of(second), same_pictures=same)
    if comparison.cells.empty:
        paths = f"{shown(first.path)} and {shown(second.path)}"
        raise UserError(f"{paths} share no complete cell: name studies of the same grid")
    settings = differing_settings(first, second)
    return dataclasses.replace(comparison, names=(first.name, second.name), settings=settings)


def differing_settings(first: Study, second: Study) -> dict[str, tuple[str, str]]:
    """What differs between two studies apart from cells: protocol, data, engine, head, recipe; both values of each."""
    before, after = _settings(first), _settings(second)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _settings(study: Study) -> dict[str, str]:
    """The context of a study's trainings, and all values that they have of what no cell names."""
    configs = [plan.config for plan in study.planned()]
    names = [field.name for field in dataclasses.fields(TrainingConfig) if field.name not in (*CELL, "seed")]
    values = {name: sorted({str(getattr(config, name)) for config in configs}) for name in names}
    context = {name: str(value) for name, value in dataclasses.asdict(study.context()).items()}
    return context | {name: " or ".join(each) for name, each in values.items()}


def print_comparison(comparison: Comparison, *, as_json: bool = False) -> None:
    """Print a comparison to stdout, as a table or as one JSON object."""
    cells = comparison.cells
    first, second = comparison.names
    if as_json:
        print(json.dumps({
            "settings": comparison.settings, "cells": json.loads(cells.to_json(orient="records")),
            "only_first": comparison.only_first, "only_second": comparison.only_second, "method": comparison.method,
        }))
        return
    for name, values in comparison.settings.items():
        before, after = (value[:16] if name == "data_sha256" else value for value in values)
        print(f"they differ in {name}: {before} in {first}, {after} in {second}")
    differing = int(cells["beyond_noise"].sum())
    print(f"{'cell':<45}{first[:14]:>15}{second[:14]:>15}{'points':>9}   p, corrected")
    for row in cells.head(max(20, differing)).to_dict("records"):
        mark = "  beyond noise" if row["beyond_noise"] else ""
        accuracies = f"{percent(row['first']):>15}{percent(row['second']):>15}{points(row['difference']):>9}"
        print(f"{cell_name(row):<45}{accuracies}   {p_value(row['p_adjusted']) or '-'}{mark}")
    print(
        f"\n{differing} of {len(cells)} shared cells differ beyond noise; "
        f"in the mean {points(cells['difference'].mean())} points"
    )
    print(f"only in {first}: {comparison.only_first} cells; only in {second}: {comparison.only_second}")
    print(comparison.method)
