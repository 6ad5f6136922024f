"""Two studies side by side: what differs between them, best against best, and along the settings they share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.places import shown
from tune_mnist.spec.words.naming import BASE, ordered, value_text
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import Cells, complete, on_other_pictures, on_these_pictures
from tune_mnist.tables.of_study import tables_of
from tune_mnist.tables.standings import cell_keys
from tune_mnist.tables.statistics.difference import LEVEL, Difference
from tune_mnist.tables.statistics.significance import adjusted, compare_networks


class Best(NamedTuple):
    """A study's best cell."""

    name: str
    cells: int
    """Of how many complete ones it is the best."""
    accuracy: float
    test_accuracy: float
    """NaN: not measured, or what it was chosen by."""
    test_low: float
    test_high: float
    """The 95% interval of the test accuracy."""


@dataclass(frozen=True)
class Comparison:
    """Two studies compared."""

    cells: pd.DataFrame
    """One row per combination of the settings in `along` that both studies have complete: those settings, first and
    second (mean accuracies over the seeds compared), difference (second less first) with ci_low and ci_high, p,
    p_adjusted, beyond_noise; those beyond noise first, then by size."""
    only_first: int
    only_second: int
    """Combinations that but one of the studies has."""
    method: str
    along: tuple[str, ...] = BASE
    """The settings by which cells are matched; of the cells with the same, each study's best one counts."""
    best: tuple[Best, Best] | None = None
    difference: dict[str, Any] = field(default_factory=dict)
    """The second best less the first: difference with ci_low, ci_high, p, and by which test."""
    names: tuple[str, str] = ("first", "second")
    """The studies' names."""
    settings: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Settings that are not in `along` in which the studies differ, and what each has."""


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


def compare_studies(
    first: Tables, second: Tables, *, same_pictures: bool, along: Sequence[str] | None = None
) -> Comparison:
    """Compare two studies: their best cells, and those with the same values of the settings `along`.

    If `along` is None these are all in which the studies have values in common, if one of them has several. Where a
    study has several complete cells with the same, its best one counts. `same_pictures`: both were evaluated on the
    same pictures in the same order, so that predictions pair.
    """
    chosen = tuple(shared_settings(first, second) if along is None else along)
    firsts, seconds = _best_by(first, chosen), _best_by(second, chosen)
    shared = [cell for cell in firsts if cell in seconds] if chosen else []
    rows = [_compared(firsts[cell], seconds[cell], same_pictures) for cell in shared]
    tested = adjusted([row.test for row in rows])
    means = [(*cell, row.before.value, row.after.value) for cell, row in zip(shared, rows, strict=True)]
    cells = pd.concat([pd.DataFrame(means, columns=[*chosen, "first", "second"]), tested], axis=1)
    cells["beyond_noise"] = cells["p_adjusted"] < LEVEL
    order = cells.assign(size=-cells["difference"].abs(), within_noise=~cells["beyond_noise"])
    cells = cells.loc[order.sort_values(["within_noise", "size"], kind="stable").index].reset_index(drop=True)
    tests = ", ".join(sorted(set(cells["test"]) - {""}))
    both = len(first.complete) and len(second.complete)
    return Comparison(
        cells, len(firsts) - len(shared), len(seconds) - len(shared), METHODS.get(tests, tests), chosen,
        best=(_best_of(first), _best_of(second)) if both else None,
        difference=_compared(complete(first).first(), complete(second).first(), same_pictures).test if both else {},
    )


def shared_settings(first: Tables, second: Tables) -> list[str]:
    """The settings of which the studies have values in common, and one of them several: those to compare along."""
    names = dict.fromkeys([*BASE, *first.varying, *second.varying])
    return [name for name in names if _values(first, name) & _values(second, name) and (
        len(_values(first, name) | _values(second, name)) > 1
    )]


def check_along(along: Sequence[str], first: Tables, second: Tables) -> None:
    """Raise `UserError` unless both studies have each of the settings, and values of it in common."""
    known = ", ".join(shared_settings(first, second)) or "none"
    for name in along:
        have = bool(_values(first, name) & _values(second, name))
        require(have, "the studies have values in common of each setting of --along", name, f"such are {known}")


def compare_folders(first: Study, second: Study, along: Sequence[str] | None = None) -> Comparison:
    """Compare two studies by their folders, on the same pictures if both have the same data.

    Raises:
        UserError: one is no study or has no complete cell, or one of the settings `along` has no values in common.
    """
    same = first.context().data_sha256 == second.context().data_sha256
    tables = tables_of(first), tables_of(second)
    for study, each in zip((first, second), tables, strict=True):
        if each.complete.empty:
            raise UserError(f"{shown(study.path)} has no complete cell: name a study that is further on")
    check_along(along or (), *tables)
    comparison = compare_studies(*tables, same_pictures=same, along=along)
    settings = differing_settings(first, second, comparison.along)
    return dataclasses.replace(comparison, names=(first.name, second.name), settings=settings)


def differing_settings(first: Study, second: Study, along: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What differs between two studies: protocol, data, engine, and the values of settings not in `along`, of each."""
    before, after = _described(first), _described(second)
    names = [name for name in {**before, **after} if name not in (*along, "seed")]
    both = {name: (before.get(name, "–"), after.get(name, "–")) for name in names}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def _described(study: Study) -> dict[str, str]:
    """The context of a study's trainings, and the values that they have of each setting."""
    planned = study.planned()
    values: dict[str, list[Any]] = {}
    for plan in planned:
        for name, value in plan.config.row().items():
            values.setdefault(name, []).append(value)
    values["epochs"] = [epochs for plan in planned for epochs in plan.budgets]
    del values["budget"]  # epochs again
    context = {name: str(value) for name, value in study.context().content.items()}
    return context | {name: " or ".join(map(value_text, ordered(name, each))) for name, each in values.items()}


def _values(tables: Tables, name: str) -> set[Any]:
    """The values of a setting among a study's complete cells; empty if it has no such setting."""
    if name in tables.complete:
        return set(tables.complete[name].dropna())
    value = tables.settings.get(name)
    return set() if value is None else {value}


def _best_by(tables: Tables, along: Sequence[str]) -> dict[tuple[Any, ...], Cells]:
    """The best complete cell of each combination of values of the settings."""
    cells = complete(tables)
    shared = {name: value for name, value in tables.settings.items() if name not in cells.rows}
    columns = cells.rows.assign(**shared)[[*along]]
    best: dict[tuple[Any, ...], Cells] = {}
    for place, cell in enumerate(cell_keys(columns)):
        best.setdefault(cell, Cells(tables, cells.rows.iloc[[place]]))
    return best


def _best_of(tables: Tables) -> Best:
    best = tables.top3.iloc[0].to_dict()
    tested = [best.get(name, math.nan) for name in ("test_accuracy", "test_ci_low", "test_ci_high")]
    return Best(tables.name_of(best), len(tables.complete), best["mean"], *tested)


class _Pair(NamedTuple):
    before: Difference
    after: Difference
    test: dict[str, Any]


def _compared(first: Cells, second: Cells, same_pictures: bool) -> _Pair:
    """Two cells' accuracies, and the test of the second less the first."""
    before, after = _accuracies(first, second, same_pictures)
    return _Pair(before, after, _compare(second, first, after, before, same_pictures))


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
