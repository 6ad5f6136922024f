"""Tests of the command line: how it parses, and that every failure is one line and a status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.idx import random_arrays, write_folder
from tune_mnist.shell.arguments import parse
from tune_mnist.shell.cli import run
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.toml import read_spec

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


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
    assert args.spec.recipe.dropout == 0.5 and args.spec.recipe.schedule == "cosine" and args.spec.seeds == 2
    assert args.spec.independent_epochs and args.json
    assert (args.cpus_per_trial, args.max_failures, args.name) == (0.5, 3, "a")


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
        assert (args.spec.recipe.dropout, args.spec.recipe.rotation) == (0.25, 5.0)


def test_help_shows_the_effective_defaults_and_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("lr = [0.125]\n[recipe]\ndropout = 0.375\n")
    assert grid(str(path), "--help") == 0
    out, err = capsys.readouterr()
    assert err == "" and "0.125" in out and "0.375" in out and "Study's name." in out and "A grid." in out


BAD_FLAGS = [
    (["--models", "SimplNN"], "model is one of SimpleNN, MediumNN, ComplexNN, CNN` must hold, but got 'SimplNN'"),
    (["--lr", "0"], "`0 < lr < inf` must hold, but got 0.0: change --lr"),
    (["--lr", "1e-3", "-1e-3"], "`0 < lr < inf` must hold, but got -0.001"),
    (["--lr", "nan"], "`0 < lr < inf` must hold, but got nan"),
    (["--lr", "inf"], "`0 < lr < inf` must hold, but got inf"),
    (["--lr", "fast"], "'fast'"),
    (["--lr"], "`lr has at least one value`"),
    (["--models"], "`models has at least one value`"),
    (["--lr", "0.1", "0.1"], "`lr has no value twice` must hold, but got 0.1"),
    (["--batch-size", "0"], "`batch_size >= 1` must hold, but got 0"),
    (["--batch-size", "1.5"], "'1.5'"),
    (["--epochs", "0"], "`epochs >= 1` must hold, but got 0"),
    (["--seeds", "0"], "`seeds >= 1` must hold, but got 0"),
    (["--seeds", "two"], "--seeds: invalid literal for int() with base 10: 'two': use `--seeds INT`"),
    (["--seeds"], "Missing value for argument"),
    (["--dropout", "1"], "`0 <= dropout < 1` must hold, but got 1.0: change --dropout"),
    (["--protocol", "none"], "invalid choice 'none' for argument '--protocol'. Expected one of ('holdout', 'report')"),
    (["--max-failures", "few"], "'few'"),
    (["--batch-sise", "16"], "unknown flag `--batch-sise`: did you mean `--batch-size`?"),
    (["--batch=16"], "unknown flag `--batch`: did you mean `--batch-size`?"),
    (["--drop", "0.5"], "unknown flag `--drop`: did you mean `--dropout`?"),
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
    ("lr = 0.1", "`lr`"),
    ("lr = ['0.1']", "`lr.0`"),
    ("batch_size = [1.5]", "`batch_size.0`"),
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
    with pytest.raises(UserError, match=r"--seeds: invalid literal for int\(\) with base 10: ") as caught:
        grid_args(["--seeds", "x" * 300])
    assert not set("\n\x1b│") & set(str(caught.value))


def test_run_passes_statuses_and_bugs_through(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError, match="division"):
        run(lambda: 1 // 0)
    assert capsys.readouterr().err == ""


def test_an_error_of_several_lines_is_joined_and_an_interrupt_may_say_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(error: BaseException) -> int:
        raise error

    assert run(lambda: fail(UserError("a\nb"))) == 2
    assert run(lambda: fail(KeyboardInterrupt())) == 130
    assert run(lambda: fail(KeyboardInterrupt("run it again to go on"))) == 130
    assert capsys.readouterr().err == "error: a b\ninterrupted\nrun it again to go on\n"


@pytest.mark.parametrize("name", ["report", "smoke", "cnn"])
def test_the_experiments_read(name: str) -> None:
    spec = read_spec(EXPERIMENTS / f"{name}.toml")
    cells = sum(len(training.budgets) for training in spec.trainings())
    assert (len(spec.trainings()), cells) == {"report": (48, 192), "smoke": (4, 8), "cnn": (6, 18)}[name]
    assert name != "report" or spec == StudySpec()


def _command(*argv: str, **options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(EXPERIMENTS.parent), **options}
    return subprocess.run(
        [sys.executable, "-m", "tune_mnist.data", *argv], capture_output=True, text=True, timeout=60, env=environment
    )


def test_a_real_process_fails_in_one_line_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    truncated = write_folder(tmp_path / "short", random_arrays()) / "train-images-idx3-ubyte"
    truncated.write_bytes(truncated.read_bytes()[:-1])
    for argv in (["--data", "nowhere"], ["--dataset", "cifar"], ["--figur", "a.png"], ["--data", "short"], ["x"]):
        done = _command(*argv)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["short"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_help_of_a_real_process_is_plain_and_fast(encoding: str) -> None:
    start = time.perf_counter()
    done = _command("--help", PYTHONIOENCODING=encoding)
    print(f"--help took {time.perf_counter() - start:.2f} s")
    assert done.returncode == 0 and done.stderr == "" and "--figure PATH" in done.stdout and "\x1b" not in done.stdout


def test_a_closed_stdout_is_quiet(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "fake", random_arrays())
    for flags in ("--help", f"--data {folder} --figure {tmp_path}/ten.png"):
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m tune_mnist.data {flags} | true"],
            capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(EXPERIMENTS.parent)},
        )
        assert done.stderr == ""


def test_ctrl_c_exits_130_without_a_traceback() -> None:
    code = "import time; from tune_mnist.shell.cli import run\n"
    code += "body = lambda: print('go', flush=True) or time.sleep(60)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code + "raise SystemExit(run(body))"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"PYTHONPATH": str(EXPERIMENTS.parent)},
    )
    assert process.stdout is not None and process.stdout.readline() == "go\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == "interrupted\n"
    assert process.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_while_python_ends_leaves_the_status_alone(number: signal.Signals) -> None:
    code = """
import os, time
from tune_mnist.shell.cli import run

class Slow:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"ending\\n")
        sleep(1)

slow = Slow()
raise SystemExit(run(lambda: print("go", flush=True) or time.sleep(60)))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(EXPERIMENTS.parent)},
    )
    assert process.stdout is not None and process.stdout.readline() == "go\n"
    process.send_signal(number)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(number)
    assert process.communicate(timeout=30)[1] == "interrupted\n"
    assert process.returncode == 130


def test_leaving_runs_the_exit_handlers_and_takes_nothing_apart() -> None:
    code = """
import atexit
from tune_mnist.shell.cli import leave

class Heavy:
    def __del__(self, write=print):
        write("taken apart")

heavy = Heavy()
atexit.register(print, "handled")
print("told")
leave(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(EXPERIMENTS.parent)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "told\nhandled\n", "")
