"""Tests of a search's spec as read from TOML, and of what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.search import read_search
from tune_mnist.spec.space import Range, Space, space_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("toml", "told"), [
    ("[space]\nlr = {grid_search = [1e-3, 1e-2]}", "has no grid_search"),
    ("[space]\nlr = {low = 1e-1, high = 1e-4}", "low <= high"),
    ("[space]\nlr = {low = 1e-4}", "lr has a low and a high"),
    ("[space]\nlearning_rate = 1e-4", "each parameter of a space is known"),
    ("lr = [1e-4]", "move it under"),
    ("sampler = 'best'", "`sampler`"),
    ("objectives = ['loss']", "an objective is one of"),
    ("[space]\nbatch_size = {low = 16, high = 32}", "batch_size is a list of values"),
])
def test_bad_toml_is_told(toml: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(toml)
    with pytest.raises(UserError, match=told):
        read_search(tmp_path / "s.toml")


def test_the_example_is_a_search_and_toml_reads_like_flags() -> None:
    spec = read_search(ROOT / "experiments" / "search.toml")
    assert spec.space.lr == Range(1e-4, 1e-1) and spec.stopping == "asha" and spec.goals == ("val_accuracy",)
    assert space_of({"lr": 1e-3, "dropout": [0.0, 0.5]}, "x") == Space(lr=(1e-3,), dropout=(0.0, 0.5))
