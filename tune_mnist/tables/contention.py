"""Which trainings may still change the top three, so that another seed of theirs is worth its cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import PlannedTraining, TrainingConfig
from tune_mnist.study.training_folder import TrainingRecord
from tune_mnist.tables.analyse import analyse
from tune_mnist.tables.standings import cell_keys
from tune_mnist.tables.statistics.difference import LEVEL


class Contention(NamedTuple):
    """What one look saw."""

    cells: int
    in_contention: int
    """The three best complete cells, and those not told from the third."""
    trainings: frozenset[TrainingConfig]
    """The trainings of the cells in contention, as of seed 0."""


def level_of(seeds: int, first: int, most: int) -> float:
    """What a look after so many `seeds`, of `first` to `most`, spends of the 5%.

    By the spending function 5% · (seeds / most)² (Kim and DeMets, Biometrika 74, 1987), which keeps more for later
    looks, when the noise is better known. Each look is held to its own share, so that by Bonferroni's
    inequality no law of several looks is needed: all of them together err with 5% at most.
    """
    before = seeds - 1 if seeds > first else 0
    return LEVEL * (seeds**2 - before**2) / most**2


def contention(
    spec: StudySpec, seeds: int, plans: Sequence[PlannedTraining], records: Iterable[TrainingRecord]
) -> Contention:
    """Look at the `plans` of a spec whose seeds are added, when its cells in contention have `seeds` each.

    A cell once told from the third is in contention again if it is no longer told from it.
    """
    tables = analyse(plans, records, spec.protocol, level=level_of(seeds, spec.first_seeds, spec.most_seeds))
    contending = set(cell_keys(tables.top3[tables.cell_columns]))
    trainings = set()
    for plan in plans:
        for budget in plan.budgets:
            values = {**plan.config.row(), "epochs": budget}
            if tuple(values.get(name) for name in tables.cell_columns) in contending:
                trainings.add(dataclasses.replace(plan.config, seed=0))
    return Contention(len(tables.summary), len(contending), frozenset(trainings))
