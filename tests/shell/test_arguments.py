"""Tests of the command line's parsing: what is understood, and that every failure is one line and status 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tune_mnist.shell.arguments import parse
from tune_mnist.shell.cli import run
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.toml import read_spec


@dataclass(frozen=True)
class GridArgs:
    """Arguments like the grid command's."""

    spec: StudySpec = field(default_factory=StudySpec)
    name: str | None = None
    """Study's name."""
    cpus_per_trial: float = 1.0
    max_failures: int | None = None
    json: bool = False


def grid_args(argv: Sequence[str]) -> GridArgs:
    return parse(
        GridArgs, argv, prog="grid", description="A grid.", from_toml=lambda path: GridArgs(spec=read_spec(path))
    )


def grid(*argv: str) -> int:
    """A command as the commands are built, with nothing to do."""
    return run(lambda: len(grid_args(argv).spec.trainings()) * 0)


def test_no_arguments_mean_the_defaults() -> None:
    assert grid_args([]) == GridArgs()


def test_flags_override_nested_fields_without_a_prefix() -> None:
    line = "--lr 1e-3 1e-2 --batch-size 16 32 --models CNN --epochs 3 --dropout 0.5 --schedule cosine --seeds 2"
    line += " --independent-epochs --cpus-per-trial 0.5 --max-failures 3 --name a --json"
    args = grid_args(line.split())
    assert args.spec.lr == (1e-3, 1e-2) and args.spec.batch_size == (16, 32) and args.spec.models == ("CNN",)
    assert args.spec.dropout == (0.5,) and args.spec.schedule == ("cosine",) and args.spec.seeds == 2
    assert args.spec.independent_epochs and args.json
    assert (args.cpus_per_trial, args.max_failures, args.name) == (0.5, 3, "a")


def test_settings_of_one_model_are_put_together_from_file_and_flags(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('models = ["MLP"]\n[MLP]\nactivation = ["relu", "tanh"]\n[CNN]\nwidth = 8\n')
    line = f"{path} --MLP.hidden 64 256-128 --lr 0.1 --CNN.batch-norm true --MLP.weight_decay=0.5"
    spec = grid_args(line.split()).spec
    assert spec.own == {
        "MLP": {"activation": ("relu", "tanh"), "hidden": ("64", "256-128"), "weight_decay": (0.5,)},
        "CNN": {"width": (8,), "batch_norm": (True,)},
    }
    assert spec.lr == (0.1,) and len(spec.trainings()) == 4 * len(spec.batch_size)


def test_none_negation_underscores_and_equals_signs_are_understood() -> None:
    args = grid_args(["--max-failures", "None", "--no-json", "--batch_size", "8", "--name=b", "--lr", "1"])
    assert args.max_failures is None and not args.json and args.spec.batch_size == (8,) and args.name == "b"
    assert args.spec.lr == (1.0,)


def test_a_toml_gives_the_defaults_and_flags_override_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('models = ["CNN"]\nlr = [0.5]\n[recipe]\ndropout = 0.25\nrotation = 5\n')
    for line in (f"{path} --lr 0.1 0.2", f"--lr 0.1 0.2 {path}", f"--lr 0.1 {path} 0.2"):
        args = grid_args(line.split())
        assert args.spec.models == ("CNN",) and args.spec.lr == (0.1, 0.2)
        assert (args.spec.dropout, args.spec.rotation) == ((0.25,), (5.0,))


def test_help_shows_the_effective_defaults_and_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("lr = [0.125]\n[recipe]\ndropout = 0.375\n")
    assert grid(str(path), "--help") == 0
    out, err = capsys.readouterr()
    assert err == "" and "0.125" in out and "0.375" in out and "Study's name." in out and "A grid." in out


BAD_FLAGS = [
    (["--models", "SimplNN"], "model is one of SimpleNN, MediumNN, ComplexNN, CNN, MLP` must hold, but got 'SimplNN'"),
    (["--lr", "0"], "`0 < lr < inf` must hold, but got 0.0: change --lr"),
    (["--lr", "1e-3", "-1e-3"], "`0 < lr < inf` must hold, but got -0.001"),
    (["--lr", "nan"], "`0 < lr < inf` must hold, but got nan"),
    (["--lr", "inf"], "`0 < lr < inf` must hold, but got inf"),
    (["--lr", "fast"], "'fast'"),
    (["--lr"], "`lr has at least one value`"),
    (["--models"], "`models has at least one value`"),
    (["--lr", "0.1", "0.1"], "`lr has no value twice` must hold, but got 0.1"),
    (["--batch-size", "0"], "`batch_size >= 1` must hold, but got 0"),
    (["--batch-size", "1.5"], "`batch_size is a whole number` must hold, but got 1.5"),
    (["--epochs", "0"], "`epochs >= 1` must hold, but got 0"),
    (["--seeds", "0"], "`seeds >= 1` must hold, but got 0"),
    (["--seeds", "two"], "auto or auto:N with N >= 3` must hold, but got 'two': change --seeds"),
    (["--seeds", "auto:1"], "auto or auto:N with N >= 3` must hold, but got 'auto:1': change --seeds"),
    (["--seeds"], "Missing value for argument"),
    (["--dropout", "1"], "`0 <= dropout < 1` must hold, but got 1.0: change --dropout"),
    (["--protocol", "none"], "invalid choice 'none' for argument '--protocol'. Expected one of ('holdout', 'report')"),
    (["--max-failures", "few"], "'few'"),
    (["--batch-sise", "16"], "unknown flag `--batch-sise`: did you mean `--batch-size`?"),
    (["--batch=16"], "unknown flag `--batch`: did you mean `--batch-size`?"),
    (["--drop", "0.5"], "unknown flag `--drop`: did you mean `--dropout`?"),
    (["--lr", "1e-4:1e-1"], "`a grid has values, no ranges` must hold, but got lr: list its values, or search it"),
    (["--lr", "1e-4:1e-1", "1"], "`a range is LOW:HIGH alone`"),
    (["--MLP.hiden", "8"], "MLP has no setting `hiden`: did you mean `hidden`?"),
    (["--MLP.hidden", "8-x"], "such as 256-128` must hold, but got '8-x': change --MLP.hidden"),
    (["--MPL.hidden", "8"], "models that there are` must hold, but got 'MPL': did you mean MLP?"),
    (["--optimizer", "adma"], "got 'adma': did you mean adam?"),
    (["--momentum", "0.9"], "`momentum goes with optimizer sgd or rmsprop` must hold, but got adamw: drop --momentum"),
    (["--zzz"], "unknown flag `--zzz`: see --help"),
    (["report"], "unexpected argument `report`: see --help"),
    (["--json", "yes"], "unexpected argument `yes`"),
    (["a.toml", "a.toml"], "`at most one spec is named` must hold, but got a.toml, a.toml"),
    (["nowhere.toml"], "cannot read nowhere.toml: No such file or directory"),
]


@pytest.mark.parametrize(("argv", "problem"), BAD_FLAGS, ids=[" ".join(argv) for argv, _ in BAD_FLAGS])
def test_bad_flags_are_one_line_and_exit_2(argv: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert grid(*argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and problem in err
    assert not set("│─╰╭") & set(err) and "--- " not in err and "Error parsing" not in err


BAD_TOML = [
    ("modles = ['CNN']", "unknown key `modles`: did you mean `models`?"),
    ("[recipe]\ndropuot = 0.1", "unknown key `recipe.dropuot`: did you mean `dropout`?"),
    ("lr = [1e-3]\nepochs = = 3", "is not valid TOML: Invalid value (at line 2"),
    ("lr = [", "line 1"),
    ("lr = 'fast'", "lr is a number"),
    ("lr = ['0.1']", "write 0.1 without quotes"),
    ("batch_size = [1.5]", "batch_size is a whole number"),
    ("lr = []", "`lr has at least one value`"),
    ("epochs = [2, 2]", "`epochs has no value twice`"),
    ("protocol = 'none'", "`protocol`"),
    ("models = ['Simple']", "did you mean SimpleNN?"),
]


@pytest.mark.parametrize(("text", "problem"), BAD_TOML)
def test_a_bad_toml_is_one_line_naming_it(
    tmp_path: Path, text: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    assert grid(str(path)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and problem in err and "bad.toml" in err


def test_a_required_flag_that_is_missing_is_one_line() -> None:
    @dataclass(frozen=True)
    class Needs:
        pictures: int

    with pytest.raises(UserError, match=r"^Missing from needs: --pictures INT \(required\): see --help$"):
        parse(Needs, [], prog="needs", description="")


def test_colours_and_a_long_value_leave_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(UserError, match="--cpus-per-trial: could not convert string to float: ") as caught:
        grid_args(["--cpus-per-trial", "x" * 300])
    assert not set("\n\x1b│") & set(str(caught.value))
