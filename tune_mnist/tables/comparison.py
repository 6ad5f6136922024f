"""Two studies side by side: the cells both have, by how much they differ, and whether beyond noise."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tune_mnist.spec.errors import UserError
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import complete, noise_of
from tune_mnist.tables.of_study import tables_of
from tune_mnist.tables.significance import LEVEL, Sample, adjusted, compare
from tune_mnist.tables.text import cell_name, p_value, percent, points

CELL = ["model", "lr", "batch_size", "epochs"]


@dataclass(frozen=True)
class Comparison:
    """Two studies compared."""

    cells: pd.DataFrame
    """One row per shared cell: model, lr, batch_size, epochs, first and second (mean accuracies over the seeds
    compared), difference (second less first) with ci_low and ci_high, p, p_adjusted, beyond_noise; those beyond noise
    first, then by size."""
    only_first: int
    only_second: int
    method: str
    names: tuple[str, str] = ("first", "second")
    """The studies' names."""


def compare_studies(first: Tables, second: Tables, *, same_pictures: bool) -> Comparison:
    """Compare the complete cells of two studies that agree in model, lr, batch_size and epochs, accuracies in [0, 1].

    Where a study varies further settings, its best such cell counts. `same_pictures`: both were evaluated on the
    same pictures in the same order, so that predictions pair.
    """
    firsts, seconds = _best(first), _best(second)
    shared = [cell for cell in firsts if cell in seconds]
    pairs = [(firsts[cell], seconds[cell]) for cell in shared]
    if same_pictures:
        pairs = [_over_same_seeds(*pair) for pair in pairs]
    noise = max((noise_of(tables) for tables in (first, second)), key=lambda noise: noise.variance)  # the noisier's
    compared = adjusted([compare(after, before, noise, same_pictures=same_pictures) for before, after in pairs])
    means = [(*cell, *(_mean(sample) for sample in pair)) for cell, pair in zip(shared, pairs, strict=True)]
    cells = pd.concat([pd.DataFrame(means, columns=[*CELL, "first", "second"]), compared], axis=1)
    cells["beyond_noise"] = cells["p_adjusted"] < LEVEL
    order = cells.assign(size=-cells["difference"].abs(), within_noise=~cells["beyond_noise"])
    cells = cells.loc[order.sort_values(["within_noise", "size"], kind="stable").index].reset_index(drop=True)
    tests = ", ".join(sorted(set(cells["test"]) - {""}))
    return Comparison(cells, len(firsts) - len(shared), len(seconds) - len(shared), METHODS.get(tests, tests))


METHODS = {
    "t": "paired t tests over the seeds in common, moderated (Smyth 2004), with Holm's correction at 5%",
    "McNemar": "one seed: exact McNemar tests on the same pictures, with Holm's correction at 5%; they tell these "
               "networks apart, not what another seed would do",
    "Fisher": "different pictures: Fisher's exact tests on the mean number of pictures right, with Holm's correction "
              "at 5%",
    "": "no cell could be tested: neither seeds nor predictions in common",
}


def _best(tables: Tables) -> dict[tuple[Any, ...], Sample]:
    """Of each (model, lr, batch_size, epochs) the best complete cell's scores."""
    cells = complete(tables)
    best: dict[tuple[Any, ...], Sample] = {}
    for cell, sample in zip(cells.rows[CELL].itertuples(index=False, name=None), cells.samples(), strict=True):
        best.setdefault(cell, sample)
    return best


def _over_same_seeds(first: Sample, second: Sample) -> tuple[Sample, Sample]:
    """Both samples' scores at the seeds they share, or all of them if they share none."""
    shared = first.keys() & second.keys()
    if not shared:
        return first, second
    return {seed: first[seed] for seed in shared}, {seed: second[seed] for seed in shared}


def _mean(sample: Sample) -> float:
    return math.fsum(score.accuracy for score in sample.values()) / len(sample)


def compare_folders(first: Study, second: Study) -> Comparison:
    """Compare two studies by their folders, on the same pictures if both have the same data.

    Raises:
        UserError: one is no study, or they share no complete cell.
    """
    same = first.context().data_sha256 == second.context().data_sha256
    comparison = compare_studies(tables_of(first), tables_of(second), same_pictures=same)
    if comparison.cells.empty:
        raise UserError(f"{first.folder} and {second.folder} share no complete cell: name studies of the same grid")
    return dataclasses.replace(comparison, names=(first.name, second.name))


def print_comparison(comparison: Comparison, *, as_json: bool = False) -> None:
    """Print a comparison to stdout, as a table or as one JSON object."""
    cells = comparison.cells
    first, second = comparison.names
    if as_json:
        print(json.dumps({
            "cells": json.loads(cells.to_json(orient="records")), "only_first": comparison.only_first,
            "only_second": comparison.only_second, "method": comparison.method,
        }))
        return
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
