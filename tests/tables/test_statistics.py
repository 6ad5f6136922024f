"""A short run of the simulations in experiments/statistics.py: family error, power, coverage, false verdicts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "statistics.py"


@pytest.fixture(scope="module")
def statistics() -> ModuleType:
    """The script as a module; it takes its own folder from the path, where it would hide the standard library's."""
    spec = importlib.util.spec_from_file_location("experiments_statistics", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.mark.parametrize("count", [10, 30])
def test_true_ties_are_not_told_apart_and_a_point_is_seen_with_three_seeds(statistics: ModuleType, count: int) -> None:
    chance = np.random.default_rng(count)
    drawn = [statistics.ties(chance, 3, count, "mild", ahead=False) for _ in range(40)]
    assert np.mean([one["family error"] for one in drawn]) <= 0.05
    assert np.mean([one["power"] for one in drawn]) >= 0.8
    assert np.mean([one["equivalence error"] for one in drawn]) <= 0.05


def test_the_best_is_among_those_that_may_be_it(statistics: ModuleType) -> None:
    chance = np.random.default_rng(0)
    drawn = [statistics.best(chance, 3, 10, "mild") for _ in range(80)]
    assert np.mean([one["error"] for one in drawn]) <= 0.05


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_an_interval_covers_the_population_s_accuracy(statistics: ModuleType, seeds: int) -> None:
    chance = np.random.default_rng(seeds)
    covered = [statistics.coverage(chance, seeds, 0.978)["coverage"] for _ in range(120)]
    assert 0.91 <= np.mean(covered) <= 0.99


def test_a_claim_at_its_boundary_is_seldom_decided(statistics: ModuleType) -> None:
    chance = np.random.default_rng(1)
    for place in range(len(statistics.WORLDS)):
        drawn = [statistics.claims(chance, 3, "mild", place) for _ in range(4)]
        for name in drawn[0]:
            assert np.mean([one[name] for one in drawn]) < 0.75, name
