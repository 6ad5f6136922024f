"""Tests of what may be asked for: configs, specs, keys and TOML files."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec, check_study_name
from tune_mnist.spec.toml import from_mapping, read_spec
from tune_mnist.spec.training import FULLY_CONNECTED, MODEL_NAMES, Context, Recipe, TrainingConfig, training_key

ROOT = Path(__file__).parents[2]
CONFIG = TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=32)
CONTEXT = Context(protocol="holdout", data_sha256="ab" * 32)

# Another valid value of every field: a new field must be added here, and so is known to enter the key.
OTHER_CONFIG: dict[str, Any] = {
    "model": "CNN", "lr": 1e-2, "batch_size": 64, "seed": 1, "head": "softmax", "budget": 5,
    "dropout": 0.5, "weight_decay": 0.1, "label_smoothing": 0.1, "ema_decay": 0.9, "schedule": "cosine",
    "warmup_epochs": 0.5, "rotation": 10.0, "translation": 2.0, "scaling": 0.1, "shear": 5.0, "precision": "bf16",
}
OTHER_CONTEXT: dict[str, Any] = {
    "protocol": "report", "data_sha256": "cd" * 32, "device": "cuda", "threads": 2, "engine_version": 99,
}


def cells(spec: StudySpec) -> list[tuple[Any, ...]]:
    return [
        (plan.config.model, plan.config.lr, plan.config.batch_size, plan.config.seed, budget)
        for plan in spec.trainings() for budget in plan.budgets
    ]


def grid_of(spec: StudySpec) -> list[tuple[Any, ...]]:
    return list(itertools.product(spec.models, spec.lr, spec.batch_size, range(spec.seeds), spec.epochs))


def test_the_default_is_the_reports_192_cells_from_48_trainings() -> None:
    spec = StudySpec()
    assert len(spec.trainings()) == 48 and all(plan.epochs == 15 for plan in spec.trainings())
    assert len(cells(spec)) == 192
    assert sorted(cells(spec)) == sorted(grid_of(spec))


@pytest.mark.parametrize(
    "spec",
    [
        StudySpec(independent_epochs=True),
        StudySpec(recipe=Recipe(schedule="cosine")),
        StudySpec(models=("CNN",), seeds=3, epochs=(1, 7)),
        StudySpec(models=("CNN", "SimpleNN"), lr=(0.5,), batch_size=(1,), epochs=(3,), protocol="report"),
    ],
)
def test_every_cell_is_answered_once_and_every_training_is_distinct(spec: StudySpec) -> None:
    assert sorted(cells(spec)) == sorted(grid_of(spec))
    plans = spec.trainings()
    assert len({plan.config for plan in plans}) == len({training_key(plan.config, CONTEXT) for plan in plans})
    assert len({plan.config for plan in plans}) == len(plans) == len({plan.config.label for plan in plans})
    separate = spec.independent_epochs or spec.recipe.schedule == "cosine"
    assert all(plan.config.budget == (plan.epochs if separate else None) for plan in plans)
    assert all(plan.budgets == ((plan.epochs,) if separate else spec.epochs) for plan in plans)


def test_the_recipe_reaches_every_training() -> None:
    recipe = Recipe(**{f.name: OTHER_CONFIG[f.name] for f in dataclasses.fields(Recipe)})
    for plan in StudySpec(recipe=recipe).trainings():
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
    assert heads == dict.fromkeys(FULLY_CONNECTED, fully_connected) | {"CNN": cnn}


def test_the_key_depends_on_every_field() -> None:
    assert set(OTHER_CONFIG) == {f.name for f in dataclasses.fields(TrainingConfig)}
    assert set(OTHER_CONTEXT) == {f.name for f in dataclasses.fields(Context)}
    # A cosine schedule needs a budget, so all vary around a config that has one.
    base = replace(CONFIG, budget=10)
    keys = [training_key(replace(base, **{name: value}), CONTEXT) for name, value in OTHER_CONFIG.items()]
    keys += [training_key(base, replace(CONTEXT, **{name: value})) for name, value in OTHER_CONTEXT.items()]
    keys += [training_key(base, CONTEXT), training_key(CONFIG, CONTEXT)]
    assert len(set(keys)) == len(OTHER_CONFIG) + len(OTHER_CONTEXT) + 2
    assert all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)


def test_the_key_depends_on_nothing_else() -> None:
    fields = list(reversed(dataclasses.fields(TrainingConfig)))
    reordered = dataclasses.make_dataclass("Reordered", [(f.name, f.type) for f in fields])
    assert training_key(reordered(**asdict(CONFIG)), CONTEXT) == training_key(CONFIG, CONTEXT)
    code = "from spec.test_config import *; print(training_key(CONFIG, CONTEXT))"
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
        ({"weight_decay": math.inf}, "0 <= weight_decay < inf"),
        ({"warmup_epochs": -1.0}, "0 <= warmup_epochs < inf"),
    ],
)
def test_a_bad_config_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        replace(CONFIG, **changes)


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
        ({"models": "CNN"}, "model is one of .* 'C'"),
        ({"seeds": 0}, "seeds >= 1.* 0: raise --seeds"),
        ({"seeds": 1.5}, "seeds is a whole number.* 1.5"),
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("models = [", r"is not valid TOML: .*line 1.*: correct the file"),
        ("seeds = 1\nlr = [0.1\nepochs = [1]\n", r"is not valid TOML: .*line 3"),
        ("seeds = 1\n\nlr 0.1\n", r"is not valid TOML: .*line 3"),
        ("seeds = 1\nseeds = 2\n", r"is not valid TOML: .*line 2"),
        ("a = " + "[" * 20_000, r"is not valid TOML"),
        ("epoch = [1]", r"unknown key `epoch`: did you mean `epochs`\?"),
        ("zzz = 1", "unknown key `zzz`: known are models, lr, .*dropout"),
        ("dropout = 0.5", r"unknown key `dropout`: did you mean `recipe\.dropout`\?"),
        ("[recipe]\nlr = 0.5", r"unknown key `recipe\.lr`: did you mean `lr`\?"),
        ("[recipe]\ndropuot = 0.5", r"unknown key `recipe\.dropuot`: did you mean `dropout`\?"),
        ('lr = ["0.1"]', r"`lr\.0`: .*but got '0\.1': correct the value"),
        ("lr = [true]", r"`lr\.0`: .*but got True"),
        ("lr = 0.1", "`lr`: .*but got 0.1"),
        ('models = "CNN"', "`models`: .*but got 'CNN'"),
        ("batch_size = [16.0]", r"`batch_size\.0`: .*but got 16\.0"),
        ("epochs = [2024-01-01]", r"`epochs\.0`: .*but got '2024-01-01'"),
        ('seeds = "2"', "`seeds`: .*but got '2'"),
        ("independent_epochs = 1", "`independent_epochs`: .*but got 1"),
        ('protocol = "both"', "`protocol`: .*holdout.*but got 'both'"),
        ("[[recipe]]\ndropout = 0.5", "`recipe`: .*object.*but got"),
        ('[recipe]\nschedule = "step"', r"`recipe\.schedule`: .*but got 'step'"),
        ("lr = [nan]", "0 < lr < inf.* nan"),
        ("lr = [inf]", "0 < lr < inf.* inf"),
        ("lr = []", "lr has at least one value"),
        ("epochs = [1, 1]", "epochs has no value twice"),
        ("[recipe]\ndropout = 1", "0 <= dropout < 1.* 1.0"),
    ],
)
def test_a_bad_toml_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=problem) as caught:
        read_spec(path)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 500


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.toml: No such file.*name an existing TOML file"):
        read_spec(tmp_path / "none.toml")
    with pytest.raises(UserError, match="cannot read .*: Is a directory"):
        read_spec(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.toml is not UTF-8 text"):
        read_spec(tmp_path / "binary.toml")


GRIDS = [path for path in sorted((ROOT / "experiments").glob("*.toml")) if path.stem != "search"]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_experiment_that_is_a_grid_can_be_read(path: Path) -> None:
    spec = read_spec(path)
    assert sorted(cells(spec)) == sorted(grid_of(spec))


def test_the_reports_experiment_spells_out_the_default() -> None:
    assert read_spec(ROOT / "experiments" / "report.toml") == StudySpec()


@pytest.mark.parametrize(
    "spec",
    [
        StudySpec(),
        StudySpec(lr=(1e-5, 1 / 3), seeds=3, data=Path("some") / "where", independent_epochs=True),
        StudySpec(models=("CNN",), recipe=Recipe(dropout=0.1, schedule="cosine", warmup_epochs=0.5, precision="bf16")),
    ],
)
def test_a_spec_survives_json(spec: StudySpec) -> None:
    assert from_mapping(StudySpec, asdict(spec), "a dict") == spec
    assert from_mapping(StudySpec, json.loads(json.dumps(asdict(spec), default=str)), "JSON") == spec
    for plan in spec.trainings():
        assert from_mapping(TrainingConfig, asdict(plan.config), "a dict") == plan.config


def test_a_damaged_config_is_refused() -> None:
    values = asdict(CONFIG)
    with pytest.raises(UserError, match=r"config\.json: unknown key `rate`"):
        from_mapping(TrainingConfig, values | {"rate": 1}, "config.json")
    del values["model"]
    with pytest.raises(UserError, match=r"config\.json: `model`: Field required"):
        from_mapping(TrainingConfig, values, "config.json")


def test_the_names_are_those_of_the_models() -> None:
    from tune_mnist.training.models import MODELS

    assert tuple(MODELS) == MODEL_NAMES
    assert FULLY_CONNECTED == ("SimpleNN", "MediumNN", "ComplexNN")


def test_importing_the_config_the_lock_and_the_store_brings_in_neither_torch_nor_ray() -> None:
    code = "import sys, tune_mnist.spec.training, tune_mnist.study.lock, tune_mnist.study.training_folder\n"
    code += "print(sorted({'torch', 'ray', 'pydantic', 'pandas', 'numpy', 'tyro'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
