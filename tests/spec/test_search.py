"""Tests of a search's spec as read from TOML, and of what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Range
from tune_mnist.spec.toml import read_search

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("toml", "told"), [
    ("[space]\nlr = {grid_search = [1e-3, 1e-2]}", "has no grid_search"),
    ("[space]\nlr = {low = 1e-1, high = 1e-4}", "low <= high"),
    ("[space]\nlr = {low = 1e-4}", "lr has a low and a high"),
    ("[space]\nlearning_rate = 1e-4", "unknown key `space.learning_rate`: known are models, lr"),
    ("trails = 3", "unknown key `trails`: did you mean `trials`"),
    ("sampler = 'best'", "`sampler`"),
    ("objectives = ['loss']", "an objective is one of"),
    ("[space]\nbatch_size = {low = 16, high = 32}", "batch_size is a list of values"),
])
def test_bad_toml_is_told(toml: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(toml)
    with pytest.raises(UserError, match=told):
        read_search(tmp_path / "s.toml")


def test_the_example_is_a_search() -> None:
    spec = read_search(ROOT / "experiments" / "search.toml")
    assert spec.space.lr == Range(1e-4, 1e-1) and spec.stopping == "asha" and spec.goals == ("val_accuracy",)


@pytest.mark.parametrize(("values", "problem"), [
    ({"sampler": "best"}, "sampler is one of tpe, .* 'best'.*--sampler"),
    ({"scheduler": "hyperband"}, "scheduler is one of asha, median, none.* 'hyperband'"),
    ({"head": "tanh"}, "head is one of auto, logits, softmax.* 'tanh'"),
    ({"trials": 1.5}, "trials is a whole number.* 1.5"),
    ({"timeout": "soon"}, "timeout is a number.* 'soon'"),
    ({"timeout": 0}, "timeout > 0.* 0.0: raise --timeout"),
    ({"objectives": ("val_loss,val_loss",)}, "no objective is named twice.* val_loss"),
    ({"sampler": "cmaes"}, "the cmaes sampler has two ranges or more.* lr: add one"),
])
def test_a_bad_search_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        SearchSpec(**values)


def test_a_search_and_its_trainings_are_about_one_task() -> None:
    spec = SearchSpec(protocol="report", head="logits", dataset="kmnist", data=Path("x"), epochs=3)
    settings = {"model": "MediumNN", "lr": 0.5, "batch_size": 8, "dropout": 0.25}
    for study in (spec.training(settings), spec.data_spec()):
        assert (study.protocol, study.head, study.dataset, study.data) == ("report", "logits", "kmnist", Path("x"))
        assert study.epochs == (3,)
    assert spec.data_spec().batch_size == (16, 32, 64, 128)
    plan = spec.planned(settings)
    assert {name: getattr(plan.config, name) for name in settings} == settings and plan.budgets == (3,)
