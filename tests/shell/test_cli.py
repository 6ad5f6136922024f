"""Tests of how commands run and end: statuses, signals, one line for a failure, exit handlers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.idx import random_arrays, write_folder
from tune_mnist.shell.cli import run
from tune_mnist.spec.errors import UserError

ROOT = Path(__file__).parents[2]


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


def _command(*argv: str, **options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), **options}
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
def test_help_of_a_real_process_is_plain(encoding: str) -> None:
    done = _command("--help", PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stderr == "" and "--figure PATH" in done.stdout and "\x1b" not in done.stdout


def test_a_closed_stdout_is_quiet(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "fake", random_arrays())
    for flags in ("--help", f"--data {folder} --figure {tmp_path}/ten.png"):
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m tune_mnist.data {flags} | true"],
            capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert done.stderr == ""


def test_ctrl_c_exits_130_without_a_traceback() -> None:
    code = "import time; from tune_mnist.shell.cli import run\n"
    code += "body = lambda: print('go', flush=True) or time.sleep(60)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code + "raise SystemExit(run(body))"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
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
        env=os.environ | {"PYTHONPATH": str(ROOT)},
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
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "told\nhandled\n", "")
