"""A run whose workers do not come up says so, says why as far as Ray's logs tell, and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.idx import random_arrays, write_folder
from tune_mnist.running.starting import NoWorker, reason
from tune_mnist.spec.errors import UserError

ROOT = Path(__file__).parents[2]


def test_the_newest_log_with_a_complaint_is_told(tmp_path: Path) -> None:
    assert "empty" in reason(tmp_path)
    for age, (name, text) in enumerate({
        "raylet.out": "not an error", "worker-2.err": "", "worker-1.err": "warning\nImportError: no \xff module\n\n",
        "raylet.err": "old trouble",
    }.items()):
        (tmp_path / name).write_text(text, encoding="latin-1")
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert reason(tmp_path) == "worker-1.err says `ImportError: no \ufffd module`"
    waiting = "[2026-01-01 00:00:00,000 E 1 1] (raylet) worker_pool.cc:1: Some workers have not registered"
    (tmp_path / "raylet.err").write_text(f"bash: no such file\n{waiting}\n")
    assert reason(tmp_path) == "raylet.err says `bash: no such file`"
    (tmp_path / "raylet.err").write_text(waiting)
    assert reason(tmp_path) == f"raylet.err says `{waiting}`"


def test_it_is_no_bad_input() -> None:
    assert issubclass(NoWorker, UserError) and NoWorker("").status == 1 and UserError("").status == 2


@pytest.mark.slow
def test_a_run_without_a_worker_says_why_and_ends_with_1(tmp_path: Path) -> None:
    """Ray is to start workers with a Python that is not there: told after 15 seconds, and given up after 29."""
    code = """
import sys
from tune_mnist.running import session, supervisor
supervisor.TELL_SECONDS, supervisor.GIVE_UP_SECONDS = 15, 29
session.shlex.quote = lambda word: "/nowhere/python"
from tune_mnist.grid import main
sys.exit(main(sys.argv[1:]))
"""
    data = write_folder(tmp_path / "data", random_arrays(train=600, test=100))
    words = ("--data", str(data), "--models", "SimpleNN", "--lr", "1e-3", "--batch-size", "64", "--epochs", "1")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=280,
                          cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if "no worker has come up" in line]
    assert len(told) == 2 and told[0].startswith("no worker has come up in 0:2") and told[1].startswith("error: ")
    for line in told:
        assert "/nowhere/python: No such file or directory`; Ray's logs are in /" in line
    assert "cluster is full" not in done.stderr and done.stderr.splitlines()[-1] == told[1]
