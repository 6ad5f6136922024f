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
from tune_mnist.tables.significance import LEVEL, Noise, Sample, adjusted, compare
from tune_mnist.tables.text import p_value, percent

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
    one, other = _best(first), _best(second)
    shared = [cell for cell in one if cell in other]
    noise = _noise(first, second)
    pairs = [_over_same_seeds(one[cell], other[cell]) if same_pictures else (one[cell], other[cell]) for cell in shared]
    found = adjusted([compare(after, before, noise, same_pictures=same_pictures) for before, after in pairs])
    means = [(*cell, *(_mean(sample) for sample in pair)) for cell, pair in zip(shared, pairs, strict=True)]
    table = pd.concat([pd.DataFrame(means, columns=[*CELL, "first", "second"]), found], axis=1)
    table["beyond_noise"] = table["p_adjusted"] < LEVEL
    order = table.assign(size=-table["difference"].abs(), calm=~table["beyond_noise"])
    table = table.loc[order.sort_values(["calm", "size"], kind="stable").index].reset_index(drop=True)
    tests = ", ".join(sorted(set(table["test"]) - {""}))
    return Comparison(table, len(one) - len(shared), len(other) - len(shared), METHODS.get(tests, tests))


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
    found: dict[tuple[Any, ...], Sample] = {}
    for row, sample in zip(cells.rows.to_dict("records"), cells.samples(), strict=True):
        found.setdefault(tuple(row[name] for name in CELL), sample)
    return found


def _over_same_seeds(first: Sample, second: Sample) -> tuple[Sample, Sample]:
    """Both samples' scores at the seeds they share, or all of them if they share none."""
    shared = first.keys() & second.keys()
    if not shared:
        return first, second
    return {seed: first[seed] for seed in shared}, {seed: second[seed] for seed in shared}


def _mean(sample: Sample) -> float:
    return math.fsum(score.accuracy for score in sample.values()) / len(sample)


def _noise(first: Tables, second: Tables) -> Noise:
    """The noisier study's noise among its better cells."""
    return max((noise_of(tables) for tables in (first, second)), key=lambda noise: noise.variance)


def compare_folders(first: Study, second: Study) -> Comparison:
    """Compare two studies by their folders, on the same pictures if both have the same data.

    Raises:
        UserError: one is no study, or they share no complete cell.
    """
    same = first.context().data_sha256 == second.context().data_sha256
    found = compare_studies(tables_of(first), tables_of(second), same_pictures=same)
    if found.cells.empty:
        raise UserError(f"{first.folder} and {second.folder} share no complete cell: name studies of the same grid")
    return dataclasses.replace(found, names=(first.name, second.name))


def print_comparison(found: Comparison, *, as_json: bool = False) -> None:
    """Print a comparison to stdout, as a table or as one JSON object."""
    if as_json:
        cells = json.loads(found.cells.to_json(orient="records"))
        counts = {"only_first": found.only_first, "only_second": found.only_second}
        print(json.dumps({"cells": cells, **counts, "method": found.method}))
        return
    first, second = found.names
    differing = found.cells[found.cells["beyond_noise"]]
    shown = found.cells if len(found.cells) <= 20 else found.cells.head(max(20, len(differing)))
    print(f"{'cell':<45}{first[:14]:>15}{second[:14]:>15}{'points':>9}   p, corrected")
    for row in shown.to_dict("records"):
        p = p_value(row["p_adjusted"]) if pd.notna(row["p_adjusted"]) else "-"
        mark = "  beyond noise" if row["beyond_noise"] else ""
        name = f"{row['model']}, lr {row['lr']:g}, batch {row['batch_size']}, {row['epochs']} epochs"
        accuracies = f"{percent(row['first']):>15}{percent(row['second']):>15}"
        print(f"{name:<45}{accuracies}{100 * row['difference']:>+9.2f}   {p}{mark}")
    mean = 100 * found.cells["difference"].mean()
    print(f"\n{len(differing)} of {len(found.cells)} shared cells differ beyond noise; in the mean {mean:+.2f} points")
    print(f"only in {first}: {found.only_first} cells; only in {second}: {found.only_second}")
    print(found.method)
