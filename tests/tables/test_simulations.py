"""A short run of the simulations in experiments/simulations.py: family error, power, coverage, false verdicts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "simulations.py"


@pytest.fixture(scope="module")
def simulations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulations", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("count", [10, 30])
def test_true_ties_are_not_told_apart_and_a_point_is_seen_with_three_seeds(simulations: ModuleType, count: int) -> None:
    chance = np.random.default_rng(count)
    drawn = [simulations.ties(chance, 3, count, "mild", ahead=False) for _ in range(100)]
    assert np.mean([one["family error"] for one in drawn]) <= 0.05
    assert np.mean([one["power"] for one in drawn]) >= 0.8 - 2 * 0.04  # less two standard errors of 100
    assert np.mean([one["equivalence error"] for one in drawn]) <= 0.05


def test_the_best_is_among_those_that_may_be_it(simulations: ModuleType) -> None:
    chance = np.random.default_rng(0)
    drawn = [simulations.best(chance, 3, 10, "mild") for _ in range(80)]
    assert np.mean([one["error"] for one in drawn]) <= 0.05


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_an_interval_covers_the_population_s_accuracy(simulations: ModuleType, seeds: int) -> None:
    chance = np.random.default_rng(seeds)
    covered = [simulations.coverage(chance, seeds, 0.978)["coverage"] for _ in range(120)]
    assert 0.91 <= np.mean(covered) <= 0.99


@pytest.mark.slow
def test_a_claim_at_its_boundary_is_seldom_decided(simulations: ModuleType) -> None:
    chance = np.random.default_rng(1)
    for world in simulations.WORLDS:
        drawn = [simulations.claims(chance, 3, "mild", world) for _ in range(4)]
        for name in drawn[0]:
            assert np.mean([one[name] for one in drawn]) < 0.75, name
