"""What trainings are called: what varies between them is named, and nothing else."""

from __future__ import annotations

import itertools
import math

import pytest

from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.spec.words.naming import (
    cell_name,
    differing,
    in_common,
    ordered,
    setting_text,
    value_text,
    varying,
)

MANY = StudySpec(
    models=("MLP",), own={"MLP": {"hidden": ("64", "256-128"), "activation": ("relu", "tanh")}},
    optimizer=("adam", "sgd"), lr=(1e-2, 1e-3), dropout=(0.0, 0.2), batch_size=64, epochs=(2, 5),
)


def rows(spec: StudySpec) -> list[dict[str, object]]:
    return [plan.config.row() for plan in spec.trainings()]


def test_what_varies_is_what_a_grid_has_several_values_of() -> None:
    assert set(varying(rows(MANY))) == {"hidden", "activation", "optimizer", "lr", "dropout"}
    assert set(varying(rows(StudySpec()))) == {"model", "lr", "batch_size"}
    assert set(varying(rows(StudySpec(models=("CNN",), lr=1e-3, batch_size=32, seeds=2)))) == {"seed"}
    assert varying([]) == () and in_common(rows(MANY))["batch_size"] == 64


def test_what_the_model_alone_determines_is_not_named() -> None:
    both = StudySpec(models=("SimpleNN", "CNN"), protocol="report", lr=1e-3, batch_size=32)
    assert "head" in differing(rows(both)) and varying(rows(both)) == ("model",)
    assert "channels" not in differing(rows(both)) and "activation" not in differing(rows(both))
    some = StudySpec(models=("MLP", "CNN"), own={"MLP": {"hidden": ("64", "128")}}, lr=1e-3, batch_size=32)
    assert set(varying(rows(some))) == {"model", "hidden"}


def test_the_budget_is_not_named_beside_the_epochs() -> None:
    spec = StudySpec(models=("SimpleNN",), lr=1e-3, batch_size=32, schedule="cosine", epochs=(2, 5))
    assert "budget" in differing(rows(spec)) and varying(rows(spec)) == ()


def test_labels_tell_a_studys_trainings_apart_and_name_no_more() -> None:
    configs = [plan.config for plan in MANY.trainings()]
    labels = [config.named(varying(rows(MANY))) for config in configs]
    assert len(set(labels)) == len(configs) == 32
    assert "MLP-lr0.01-b64-s0-sgd-dropout0.2-tanh-hidden256-128" in labels
    for config in (plan.config for plan in StudySpec().trainings()):
        assert config.named(varying(rows(StudySpec()))) == config.label
    alike = StudySpec(models=("CNN",), lr=(1e-3, 1e-2), batch_size=32, dropout=0.25, rotation=10.0)
    shown = [plan.config.named(varying(rows(alike))) for plan in alike.trainings()]
    assert shown == ["CNN-lr0.001-b32-s0", "CNN-lr0.01-b32-s0"]


def test_a_cell_names_its_model_what_is_asked_for_and_last_its_epochs() -> None:
    cell = {"model": "CNN", "lr": 1e-4, "batch_size": 16, "epochs": 1, "dropout": 0.2, "hidden": math.nan}
    assert cell_name(cell) == "CNN, lr 0.0001, batch 16, 1 epoch"
    assert cell_name({**cell, "epochs": 2}).endswith(", 2 epochs")
    assert cell_name(cell, ["lr", "epochs", "dropout", "hidden"]) == "CNN, lr 0.0001, dropout 0.2, 1 epoch"


def test_values_are_in_an_order_that_people_expect() -> None:
    for values in itertools.permutations(["64", "128", "256-128"]):
        assert ordered("hidden", values) == ["64", "128", "256-128"]
    assert ordered("dropout", [0.5, None, 0.0, 0.5]) == [0.0, 0.5, None]
    assert ordered("model", ["CNN", "Mine", "SimpleNN"]) == ["SimpleNN", "CNN", "Mine"]


@pytest.mark.parametrize(("value", "text"), [
    (1e-4, "0.0001"), (0.000585851, "0.0005859"), (32, "32"), (32.0, "32"), (True, "yes"), (None, "–"), ("sgd", "sgd"),
])
def test_values_as_text(value: object, text: str) -> None:
    assert value_text(value) == text
    assert setting_text("weight_decay", value) == f"weight decay {text}"


def test_without_a_study_a_label_names_what_is_not_at_its_default() -> None:
    config = TrainingConfig(
        model="MLP", lr=1e-3, batch_size=32, schedule="cosine", budget=3, dropout=0.2, model_settings={"hidden": "64"}
    )
    assert config.label == "MLP-lr0.001-b32-s0-e3-dropout0.2-cosine-hidden64"
