"""What of a study is worth a figure: the report's slices where it holds them, else its own settings and pairs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from tune_mnist.spec.words.naming import BASE
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.anova import weights
from tune_mnist.tables.slices import filled, nearest, sliceable

PAIRS = 3
"""How many pairs of settings have a heatmap."""


@dataclass(frozen=True)
class ReportsSlices:
    """Where the report's figures cut its grid, in terms of a study that holds their cells."""

    axes: frozenset[str]
    """Which of lr, batch_size and epochs have several values in the study."""
    epochs: Any
    """The epochs of what is shown by lr: 10."""
    middle: Any
    """The learning rate of the heatmap of epochs: 0.001."""
    by_epochs: list[Any]
    """The learning rates of what is shown by epochs: 0.001 and 0.1, as far as there."""
    by_batch_size: list[Any]
    """The learning rates of what is shown by batch size: 0.0001 and 0.001, as far as there."""


def reports_slices(tables: Tables) -> ReportsSlices | None:
    """Where to cut the study as the report did; None if it does not hold the cells of the report's figures.

    It does if nothing but model, lr, batch size and epochs varies, and of those that do each is an axis of a figure
    whose slice the study has. Of a study that is not run to its end, where something is complete already, the nearest.
    """
    summary = tables.summary
    reached = summary[summary["n"] > 0]
    axes = frozenset(tables.varying) - {"model"}
    a_grid = filled(summary, tables.told) and all(sliceable(tables, name) for name in axes)
    if reached.empty or not a_grid or not axes <= {*BASE}:
        return None
    has_ten = (summary["epochs"] == 10).any()
    rates = {rate: nearest(reached["lr"], rate) for rate in (1e-4, 1e-3, 1e-1) if (summary["lr"] == rate).any()}
    by_epochs = sorted({rates[rate] for rate in (1e-3, 1e-1) if rate in rates})
    by_batch_size = sorted({rates[rate] for rate in (1e-4, 1e-3) if rate in rates})
    held = {"lr": has_ten, "epochs": bool(by_epochs), "batch_size": bool(by_batch_size)}
    if not axes or not all(held[name] for name in axes):
        return None
    middle = rates.get(1e-3, by_epochs[0] if by_epochs else next(iter(rates.values()), None))
    return ReportsSlices(axes, nearest(reached["epochs"], 10), middle, by_epochs, by_batch_size)


def settings_to_show(tables: Tables) -> list[str]:
    """The settings to look along, those that explain most of the differences first."""
    return [name for name in weights(tables) if sliceable(tables, name)]


def pairs_to_show(tables: Tables) -> list[tuple[str, str]]:
    """The pairs of settings, as rows and columns of a heatmap, that explain most by themselves: the largest two first.

    A pair of whose combinations the study has less than half is left out. The one with more values gives the rows.
    """
    summary, shares = tables.summary, weights(tables)
    names = [name for name in shares if sliceable(tables, name)]
    pairs = [pair for pair in itertools.combinations(names, 2) if filled(summary, pair)]
    pairs.sort(key=lambda pair: -(shares[pair[0]] + shares[pair[1]]))
    by_values = [sorted(pair, key=lambda name: -summary[name].nunique()) for pair in pairs[:PAIRS]]
    return [(rows, columns) for rows, columns in by_values]
