"""Tests of a training's config, what it refuses, and the key that it gets."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.specs import CONFIG, CONTEXT, OTHER_CONFIG, OTHER_CONTEXT
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.toml import from_mapping
from tune_mnist.spec.training import FIELDS, Context, TrainingConfig, training_key
from tune_mnist.study.files import read_json
from tune_mnist.study.study import Study

ROOT = Path(__file__).parents[2]


def test_the_key_depends_on_every_field() -> None:
    assert set(OTHER_CONFIG) == set(FIELDS)
    assert set(OTHER_CONTEXT) == {f.name for f in dataclasses.fields(Context)}
    # A cosine schedule needs a budget, so all vary around a config that has one.
    base = replace(CONFIG, budget=10)
    beside: dict[str, dict[str, Any]] = {
        "momentum": {"optimizer": "rmsprop"}, "nesterov": {"optimizer": "sgd", "momentum": 0.5},
    }
    keys = [
        training_key(replace(base, **{name: value}, **beside.get(name, {})), CONTEXT)
        for name, value in OTHER_CONFIG.items()
    ]
    keys += [training_key(base, replace(CONTEXT, **{name: value})) for name, value in OTHER_CONTEXT.items()]
    keys += [training_key(base, CONTEXT), training_key(CONFIG, CONTEXT)]
    assert len(set(keys)) == len(OTHER_CONFIG) + len(OTHER_CONTEXT) + 2
    assert all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)


def test_the_key_depends_on_nothing_else() -> None:
    given = replace(CONFIG, model="MLP", model_settings={"hidden": "64", "activation": "tanh"})
    again = replace(CONFIG, model="MLP", model_settings={"activation": "tanh", "hidden": (64,)})
    assert training_key(given, CONTEXT) == training_key(again, CONTEXT) and given == again
    code = "from support.specs import CONFIG, CONTEXT; from tune_mnist.spec.training import training_key\n"
    code += "print(training_key(CONFIG, CONTEXT))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONHASHSEED": "1"},
        capture_output=True, text=True, check=True, timeout=60,
    )
    assert done.stdout.strip() == training_key(CONFIG, CONTEXT)


def test_equal_configs_have_equal_keys_whatever_kind_of_number_they_were_made_of() -> None:
    plain = TrainingConfig(model="CNN", lr=1.0, batch_size=16, seed=3, dropout=0.0, rotation=5.0, budget=2)
    kinds: list[dict[str, Any]] = [
        {"lr": 1, "rotation": 5, "dropout": 0}, {"lr": np.float64(1), "rotation": np.float32(5)},
        {"batch_size": np.int64(16), "seed": np.int32(3), "budget": np.int64(2)},
        {"batch_size": 16.0, "dropout": -0.0},
    ]
    for values in kinds:
        config = replace(plain, **values)
        assert config == plain and repr(config) == repr(plain)
        assert training_key(config, CONTEXT) == training_key(plain, CONTEXT)
    assert training_key(plain, replace(CONTEXT, threads=np.int64(1))) == training_key(plain, CONTEXT)
    assert StudySpec(lr=[1, 0.1], epochs=[2, 5]) == StudySpec(lr=(1.0, 0.1), epochs=(2, 5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": "SimpelNN"}, "model is one of SimpleNN, MediumNN, .* 'SimpelNN': did you mean SimpleNN"),
        ({"model": "ResNet"}, "model is one of .* but got 'ResNet': "),
        ({"lr": 0.0}, "0 < lr < inf.* but got 0.0: change --lr"),
        ({"lr": -1e-3}, "0 < lr < inf.* but got -0.001: change --lr"),
        ({"lr": math.nan}, "0 < lr < inf.* but got nan: change --lr"),
        ({"lr": math.inf}, "0 < lr < inf.* but got inf: change --lr"),
        ({"lr": "0.1"}, "lr is a number.* '0.1'"),
        ({"lr": True}, "lr is a number.* True"),
        ({"batch_size": 0}, "batch_size >= 1.* but got 0: raise --batch-size"),
        ({"batch_size": 16.5}, "batch_size is a whole number.* 16.5"),
        ({"seed": -1}, r"0 <= seed < 2\*\*32.* -1"),
        ({"seed": 2**32}, r"0 <= seed < 2\*\*32.* 4294967296"),
        ({"budget": 0}, "budget >= 1.* but got 0"),
        ({"schedule": "cosine"}, "a cosine schedule has a budget.* None: give an epoch budget"),
        ({"schedule": "linear"}, "schedule is one of constant, cosine.* 'linear'"),
        ({"head": "Softmax"}, "head is one of logits, softmax.* 'Softmax'"),
        ({"precision": "fp16"}, "precision is one of fp32, bf16.* 'fp16'"),
        ({"dropout": 1.0}, "0 <= dropout < 1.* but got 1.0: change --dropout"),
        ({"dropout": -0.1}, "0 <= dropout < 1"),
        ({"label_smoothing": 1.0}, "0 <= label_smoothing < 1.*--label-smoothing"),
        ({"ema_decay": 1.0}, "0 <= ema_decay < 1"),
        ({"scaling": 1.0}, "0 <= scaling < 1"),
        ({"rotation": 181.0}, "0 <= rotation <= 180"),
        ({"translation": 15.0}, "0 <= translation <= 14"),
        ({"shear": 46.0}, "0 <= shear <= 45"),
        ({"shear": math.nan}, "0 <= shear <= 45.* nan"),
        ({"momentum": 0.9}, "momentum goes with optimizer sgd or rmsprop.* 0.9: drop --momentum"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov goes with optimizer sgd with momentum.* True"),
        ({"optimizer": "adma"}, "optimizer is one of adamw, adam, sgd, rmsprop.* 'adma': did you mean adam"),
        ({"model_settings": {"hidden": "64"}}, "SimpleNN has no setting `hidden`: known are activation"),
        ({"model": "MLP", "model_settings": {"hidden": "64-"}}, "hidden is whole numbers in a row.* '64-'"),
        ({"weight_decay": math.inf}, "0 <= weight_decay < inf"),
        ({"warmup_epochs": -1.0}, "0 <= warmup_epochs < inf"),
    ],
)
def test_a_bad_config_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        replace(CONFIG, **changes)


def test_what_keys_leave_out_and_what_is_the_same_under_another_name_changes_no_key() -> None:
    default = replace(CONFIG, model="CNN", model_settings={"width": 128, "batch_norm": False})
    assert default == replace(CONFIG, model="CNN") and default.model_settings == ()
    assert not {"optimizer", "momentum", "nesterov", "clip_norm", "model_settings", "source"} & default.content().keys()
    adam = replace(CONFIG, optimizer="adam")
    assert training_key(adam, CONTEXT) == training_key(CONFIG, CONTEXT)
    decayed = replace(CONFIG, weight_decay=0.1)
    assert training_key(replace(decayed, optimizer="adam"), CONTEXT) != training_key(decayed, CONTEXT)


@pytest.mark.parametrize("study", sorted(path.name for path in (ROOT / "ray_results").iterdir() if path.is_dir()))
def test_the_curated_runs_have_the_keys_that_they_were_made_with(study: str) -> None:
    folders = [path.parent for path in (ROOT / "ray_results" / study).glob("trainings/**/config.json")]
    assert folders
    for folder in folders:
        content = read_json(folder / "config.json")
        config = from_mapping(TrainingConfig, content["config"], folder.name)
        assert training_key(config, Context(**content["context"])) == folder.name
        assert config.content() == content["config"]


def test_the_curated_runs_are_what_their_specs_ask_for() -> None:
    for folder in (ROOT / "ray_results").glob("*/study.json"):
        study = Study(folder.parent)
        keys = {training_key(plan.config, study.context()) for plan in study.planned()}
        assert keys == {path.parent.name for path in folder.parent.glob("trainings/**/config.json")}


def test_importing_the_config_the_lock_and_the_store_brings_in_neither_torch_nor_ray() -> None:
    code = "import sys, tune_mnist.spec.training, tune_mnist.study.lock, tune_mnist.study.training_folder\n"
    code += "print(sorted({'torch', 'ray', 'pydantic', 'pandas', 'numpy', 'tyro'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
