"""Tests of the samplers that a search takes from Optuna."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.searches import SPACE, SPEC, best_at_a_thousandth, opened, run_all
from support.specs import changed
from tune_mnist.searching.samplers import make_sampler
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.space import Range


def drawn(folder: Path, sampler: Any, *, better: bool) -> list[dict[str, Any]]:
    """The parameters of 16 trials, each told how good it was, or how bad."""
    spec = replace(SPEC, sampler=sampler, trials=16, space=changed(SPACE, dropout=Range(0.0, 0.5)))
    trials = opened(folder, spec)
    run_all(trials, best_at_a_thousandth if better else lambda config: 1 - best_at_a_thousandth(config))
    return [trial.params for trial in trials.all()]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes"])
def test_every_sampler_asks_within_the_space_and_all_but_the_random_one_learn(sampler: Any, tmp_path: Path) -> None:
    params = drawn(tmp_path / "better", sampler, better=True)
    assert len(params) == 16
    for trial in params:
        assert 1e-4 <= trial["lr"] <= 1e-1 and 0 <= trial["dropout"] <= 0.5 and trial["batch_size"] in (16, 32)
    otherwise_told = drawn(tmp_path / "worse", sampler, better=False)
    assert (params == otherwise_told) == (sampler == "random")
    assert params[0] == otherwise_told[0]  # so what differs is what was told, not chance


def test_a_sampler_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    spec = replace(SPEC, sampler="cmaes", space=changed(SPACE, dropout=Range(0.0, 0.5)))
    with pytest.raises(UserError, match="^the cmaes sampler needs the package cmaes: install it$"):
        make_sampler(spec, 0)
