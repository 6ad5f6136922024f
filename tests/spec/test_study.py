"""Tests of a grid's spec: the trainings that it asks for, what it refuses, and the names of studies."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from support.specs import CONTEXT, OTHER_CONFIG, cells, grid_of
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec, check_study_name
from tune_mnist.spec.training import FULLY_CONNECTED, MODEL_NAMES, Recipe, training_key
from tune_mnist.spec.words.command_line import command_line


def test_the_default_is_the_reports_192_cells_from_48_trainings() -> None:
    spec = StudySpec()
    assert len(spec.trainings()) == 48 and all(plan.epochs == 15 for plan in spec.trainings())
    assert len(cells(spec)) == 192
    assert sorted(cells(spec)) == sorted(grid_of(spec))


@pytest.mark.parametrize(
    "spec",
    [
        StudySpec(independent_epochs=True),
        StudySpec(schedule="cosine"),
        StudySpec(models=("CNN",), seeds=3, epochs=(1, 7)),
        StudySpec(models=("CNN", "SimpleNN"), lr=(0.5,), batch_size=(1,), epochs=(3,), protocol="report"),
    ],
)
def test_every_cell_is_answered_once_and_every_training_is_distinct(spec: StudySpec) -> None:
    assert sorted(cells(spec)) == sorted(grid_of(spec))
    plans = spec.trainings()
    assert len({plan.config for plan in plans}) == len({training_key(plan.config, CONTEXT) for plan in plans})
    assert len({plan.config for plan in plans}) == len(plans) == len({plan.config.label for plan in plans})
    separate = spec.independent_epochs or spec.schedule == ("cosine",)
    assert all(plan.config.budget == (plan.epochs if separate else None) for plan in plans)
    assert all(plan.budgets == ((plan.epochs,) if separate else spec.epochs) for plan in plans)


def test_the_recipe_reaches_every_training() -> None:
    recipe = Recipe(**{f.name: OTHER_CONFIG[f.name] for f in dataclasses.fields(Recipe)})
    for plan in StudySpec(**asdict(recipe)).trainings():
        assert {f.name: getattr(plan.config, f.name) for f in dataclasses.fields(Recipe)} == asdict(recipe)


@pytest.mark.parametrize(("head", "protocol", "fully_connected", "cnn"), [
    ("auto", "holdout", "logits", "logits"), ("auto", "report", "softmax", "logits"),
    ("logits", "report", "logits", "logits"), ("softmax", "holdout", "softmax", "softmax"),
])
def test_the_automatic_head_is_the_reports_under_its_protocol(
    head: Any, protocol: Any, fully_connected: str, cnn: str
) -> None:
    spec = StudySpec(models=MODEL_NAMES, head=head, protocol=protocol)
    heads = {plan.config.model: plan.config.head for plan in spec.trainings()}
    assert heads == dict.fromkeys((*FULLY_CONNECTED, "MLP"), fully_connected) | {"CNN": cnn}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"models": ()}, "models has at least one value.* none: give --models a value"),
        ({"lr": ()}, "lr has at least one value"),
        ({"batch_size": ()}, "batch_size has at least one value.*--batch-size"),
        ({"epochs": ()}, "epochs has at least one value"),
        ({"models": ("CNN", "CNN")}, "models has no value twice.* CNN: drop the repeats"),
        ({"lr": (0.1, 0.01, 0.1)}, "lr has no value twice.* 0.1"),
        ({"lr": (1, 1.0)}, "lr has no value twice.* 1"),
        ({"batch_size": (16, 16)}, "batch_size has no value twice.* 16"),
        ({"epochs": (2, 5, 2, 5)}, "epochs has no value twice.* 2, 5"),
        ({"epochs": (0,)}, "epochs >= 1.* but got 0: raise --epochs"),
        ({"lr": (0.1, -0.1)}, "0 < lr < inf.* -0.1"),
        ({"batch_size": (16, -1)}, "batch_size >= 1.* -1"),
        ({"models": "C"}, "model is one of .* 'C'"),
        ({"seeds": 0}, "seeds >= 1.* 0: raise --seeds"),
        ({"seeds": 1.5}, "seeds is a whole number.* 1.5"),
        ({"seeds": True}, "seeds is a whole number.* True"),
        ({"seeds": "auto:2"}, "auto:N with N >= 3.* 'auto:2'"),
        ({"seeds": "auto:1"}, "seeds is a whole number, auto or auto:N with N >= 3.* 'auto:1': change --seeds"),
        ({"seeds": "auto:"}, "auto:N with N >= 3.* 'auto:'"),
        ({"seeds": "auto:x"}, "auto:N with N >= 3.* 'auto:x'"),
        ({"seeds": "auto:auto:3"}, "auto:N with N >= 3.* 'auto:auto:3'"),
        ({"seeds": "3"}, "auto:N with N >= 3.* '3'"),
        ({"protocol": "test"}, "protocol is one of holdout, report.* 'test'"),
        ({"head": "tanh"}, "head is one of auto, logits, softmax.* 'tanh'"),
        ({"dataset": "cifar"}, "dataset is one of mnist, .* 'cifar'"),
    ],
)
def test_a_bad_spec_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        StudySpec(**values)


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "0", "x" * 64, "a..b"])
def test_safe_study_names_pass(name: str) -> None:
    assert check_study_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "..", ".", ".hidden", "../up", "a/b", "a\\b", "-a", "_a", "a b", "a\n", "a\0", "x" * 65, "ü", "~", "/a"]
)
def test_unsafe_study_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"name matches \[A-Za-z0-9\].*: change --name"):
        check_study_name(name)


def test_a_page_spells_a_spec_in_the_order_of_its_fields() -> None:
    spec = StudySpec(
        models=("CNN",), lr=(0.5, 1e-5), batch_size=(8,), epochs=(3,), seeds=2, protocol="report", head="softmax",
        independent_epochs=True, dataset="kmnist", data=Path("a/b"), dropout=0.5, schedule="cosine",
    )
    assert command_line(spec, "mine") == (
        "python -m tune_mnist.grid --models CNN --lr 0.5 1e-05 --batch-size 8 --dropout 0.5 --schedule cosine "
        "--epochs 3 --seeds 2 --protocol report --head softmax --independent-epochs --dataset kmnist --data a/b "
        "--name mine"
    )
