"""Shares of variance, where they are known."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from support.figures import made
from tune_mnist.spec.study import StudySpec
from tune_mnist.tables.anova import HIGHER, anovas, decompose

SETTINGS = ["model", "lr", "epochs"]
SPEC = StudySpec(models=("SimpleNN", "MediumNN"), lr=(1e-4, 1e-3, 1e-1), batch_size=(16, 64), epochs=(2, 10), seeds=2)


def grid(seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """log(1 - accuracy) of effects that are ± their size: epochs 4, lr 2, lr × epochs 1, all three 1, the seed 1."""
    rows = []
    for (m, model), (i, lr), (j, epochs), seed in itertools.product(
        [(-1, "CNN"), (1, "SimpleNN")], [(-1, 1e-4), (1, 1e-3)], [(-1, 5), (1, 10)], seeds
    ):
        effects = 4 * j + 2 * i + i * j + m * i * j + (2 * seed - 1 if len(seeds) > 1 else 0)
        rows.append((model, lr, epochs, seed, "complete", 1 - np.exp(-3 + effects / 10)))
    return pd.DataFrame(rows, columns=[*SETTINGS, "seed", "status", "val_accuracy"])


def test_the_shares_of_known_effects() -> None:
    anova = decompose(grid(), SETTINGS, "val")
    assert anova is not None and anova.cells == 8
    expected = {"epochs": 16, "lr": 4, "lr × epochs": 1, HIGHER: 1, "seed": 1, "model": 0, "model × lr": 0}
    for name, size in expected.items():
        assert anova.shares[name] == pytest.approx(size / 23, abs=1e-9)
    assert sum(anova.shares.values()) == pytest.approx(1)
    assert list(anova.settings) == ["epochs", "lr", "model"]


def test_one_seed_has_no_share_of_its_own() -> None:
    anova = decompose(grid((0,)), SETTINGS, "val")
    assert anova is not None and "seed" not in anova.shares and anova.shares["epochs"] == pytest.approx(16 / 22)


def test_what_is_not_a_full_grid_is_not_decomposed() -> None:
    assert decompose(grid().iloc[1:], SETTINGS, "val") is None
    assert decompose(grid().assign(status=["diverged"] + ["complete"] * 15), SETTINGS, "val") is None
    assert decompose(grid().assign(val_accuracy=0.9), SETTINGS, "val") is None
    assert decompose(grid().query("model == 'CNN' and lr == 0.001 and epochs == 5"), SETTINGS, "val") is None


def test_a_large_learning_rate_that_fails_does_not_hide_the_others() -> None:
    whole, leading = anovas(made(SPEC))
    assert (whole.largest_lr, whole.cells, leading.largest_lr, leading.cells) == (1e-1, 24, 1e-3, 16)
    assert whole.shares["lr"] > 0.99 > leading.shares["lr"]
    diverged = anovas(made(SPEC, "diverged"))
    assert [grid.largest_lr for grid in diverged] == [1e-3] and diverged[0].shares == leading.shares


def test_nothing_complete_has_no_shares() -> None:
    assert anovas(made(replace(SPEC, lr=(1e-1,)), "diverged")) == []
