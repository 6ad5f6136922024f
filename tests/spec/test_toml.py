"""Tests of specs and configs read from TOML and JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from support.specs import CONFIG, cells, grid_of
from tune_mnist.grid import GridArgs, from_toml
from tune_mnist.shell.arguments import parse
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.places import home_expanded
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Range, Space
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.toml import from_mapping, read_search, read_spec
from tune_mnist.spec.training import TrainingConfig

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[import-not-found,no-redef]

ROOT = Path(__file__).parents[2]


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
        ("dropuot = 0.5", r"unknown key `dropuot`: did you mean `dropout`\?"),
        ("lr = 0.1\n[recipe]\nlr = 0.5", r"`lr` stands twice: drop it from \[recipe\]"),
        ("[CNN]\nchanels = 8", r"CNN has no setting `chanels`: did you mean `channels`\?"),
        ("[CNN]\nhidden = '8'", r"CNN has no setting `hidden`: known are lr, .*channels, width, batch_norm"),
        ("[MPL]\nhidden = '8'", r"settings are given to models that there are.* 'MPL': did you mean MLP\?"),
        ("lr = {low = 1e-4, high = 1e-1}", r"a grid has values, no ranges.* lr: list its values, or search it"),
        ("lr = '1e-4:1e-1'", r"a grid has values, no ranges.* lr: list its values, or search it"),
        ("momentum = 0.9", r"momentum goes with optimizer sgd or rmsprop.* adamw: drop --momentum"),
        ("[recipe]\ndropuot = 0.5", r"unknown key `recipe\.dropuot`: did you mean `dropout`\?"),
        ('lr = ["0.1"]', r"lr is a number.*but got '0\.1': write 0\.1 without quotes"),
        ("lr = [true]", r"lr is a number.*but got True"),
        ('models = "CN"', "model is one of .*but got 'CN': did you mean CNN"),
        ("batch_size = [16.5]", r"batch_size is a whole number.*but got 16\.5"),
        ("epochs = [2024-01-01]", r"epochs is a whole number.* but got '2024-01-01'"),
        ('seeds = "2"', "seeds is a whole number, auto or auto:N with N >= 3.* but got '2': change --seeds"),
        ("independent_epochs = 1", "`independent_epochs`: .*but got 1"),
        ('protocol = "both"', "`protocol`: .*holdout.*but got 'both'"),
        ("[[recipe]]\ndropout = 0.5", "recipe is a table.*but got"),
        ('[recipe]\nschedule = "step"', r"schedule is one of constant, cosine.*but got 'step'"),
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
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    with pytest.raises(UserError, match=r"binary\.toml is not UTF-8 text"):
        read_spec(tmp_path / "binary.toml")


GRIDS = [path for path in sorted((ROOT / "experiments").glob("*.toml")) if path.stem != "search"]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_experiment_that_is_a_grid_can_be_read(path: Path) -> None:
    spec, asked = read_spec(path), tomllib.loads(path.read_text())
    tables = (asked, *(value for value in asked.values() if isinstance(value, dict)))
    lists = [value for table in tables for value in table.values() if isinstance(value, list)]
    distinct = {(plan.config, budget) for plan in spec.trainings() for budget in plan.budgets}
    assert len(distinct) == len(cells(spec)) == math.prod(map(len, lists)) * spec.first_seeds
    assert set(cells(spec)) == set(grid_of(spec))


@pytest.mark.parametrize("name", ["report", "smoke", "cnn"])
def test_the_experiments_read(name: str) -> None:
    spec = read_spec(ROOT / "experiments" / f"{name}.toml")
    cells = sum(len(training.budgets) for training in spec.trainings())
    assert (len(spec.trainings()), cells) == {"report": (48, 192), "smoke": (4, 8), "cnn": (6, 18)}[name]
    assert name != "report" or spec == StudySpec()


def test_the_reports_experiment_spells_out_the_default() -> None:
    assert read_spec(ROOT / "experiments" / "report.toml") == StudySpec()


@pytest.mark.parametrize(
    "spec",
    [
        StudySpec(),
        StudySpec(lr=(1e-5, 1 / 3), seeds=3, data=Path("some") / "where", independent_epochs=True),
        StudySpec(models="MLP", optimizer=["adam", "sgd"], own={"MLP": {"hidden": ["64", "32-16"], "lr": [0.1, 1e-3]}}),
        StudySpec(models=("CNN",), dropout=0.1, schedule="cosine", warmup_epochs=0.5, precision="bf16"),
    ],
)
def test_a_spec_survives_json(spec: StudySpec) -> None:
    assert from_mapping(StudySpec, spec.content(), "a dict") == spec
    assert from_mapping(StudySpec, json.loads(json.dumps(spec.content())), "JSON") == spec
    for plan in spec.trainings():
        assert from_mapping(TrainingConfig, plan.config.content(), "a dict") == plan.config


def test_a_damaged_config_is_refused() -> None:
    values = CONFIG.content()
    with pytest.raises(UserError, match=r"config\.json: unknown key `rate`"):
        from_mapping(TrainingConfig, values | {"rate": 1}, "config.json")
    del values["model"]
    with pytest.raises(UserError, match=r"config\.json: `model`: Field required"):
        from_mapping(TrainingConfig, values, "config.json")


TEXT = 'models = ["CNN"]\nlr = [1e-3]\n'


@pytest.mark.parametrize("content", [TEXT.encode("utf-8-sig"), TEXT.replace("\n", "\r\n").encode(), TEXT.encode()])
def test_a_mark_and_windows_line_ends_are_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_bytes(content)
    assert read_spec(tmp_path / "spec.toml") == StudySpec(models=("CNN",), lr=(1e-3,))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (TEXT.encode("utf-16"), "spec.toml is UTF-16 text: save it as UTF-8"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "is UTF-16 text"),
        (TEXT.encode() + b"# \xe9", "is not UTF-8 text"),
        ("lr = [1e-3]\nmodels = [“CNN”]\n".encode(), 'has the quote “ in line 2: write plain ones, "'),
        ("models = [‘CNN’]  # a “word”\n".encode(), "has the quote ‘ in line 1"),
        (b'lr = ["1e-3"]\n', "lr is a number.* but got '1e-3': write 1e-3 without quotes"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_to_write(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_spec(tmp_path / "spec.toml")


def test_one_value_needs_no_list_and_tables_of_models_and_old_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    text = 'models = "CNN"\nlr = 1e-3\ndropout = [0, 0.2]\ntrials = 9\n[CNN]\nbatch_size = 8\nwidth = [8, 16]\n'
    path.write_text(text)
    own = {"CNN": {"batch_size": 8, "width": [8, 16]}}
    assert read_spec(path) == StudySpec(models=("CNN",), lr=(1e-3,), dropout=(0.0, 0.2), own=own)
    assert read_search(path).space == Space(models="CNN", lr=1e-3, dropout=[0, 0.2], own=own)
    path.write_text("[recipe]\ndropout = 0.5\n")
    assert read_spec(path) == StudySpec(dropout=0.5)
    path.write_text('epochs = [2, 5]\n[space]\nmodels = ["CNN"]\ncnn_lr = { low = 1e-3, high = 1e-2 }\n')
    assert read_search(path) == SearchSpec(epochs=5, space=Space(models="CNN", own={"CNN": {"lr": Range(1e-3, 1e-2)}}))


def test_typographic_quotes_in_a_comment_or_a_text_are_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(f'# “a comment”\ndata = "a “folder”"\n{TEXT}', encoding="utf-8")
    assert read_spec(tmp_path / "spec.toml").data == Path("a “folder”")


def test_a_home_is_meant_by_a_tilde_in_files_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "SPEC.TOML").write_text(TEXT + 'data = "~/mnist"\n')
    args = parse(GridArgs, ["~/SPEC.TOML", "--storage=~/studies"], prog="", description="", from_toml=from_toml)
    assert args.spec.data == tmp_path / "mnist" and args.storage == tmp_path / "studies"
    args = parse(GridArgs, ["--data", "~"], prog="", description="", from_toml=from_toml)
    assert args.spec.data == tmp_path and args.storage == Path("ray_results")
    assert home_expanded((Path("~/a"), Path("b~"), "~")) == (tmp_path / "a", Path("b~"), "~")


def test_a_home_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="~nobody-of-this-name/x: no such home: set HOME"):
        home_expanded(Path("~nobody-of-this-name/x"))
