"""Tests of compiled code that is kept for later runs: never that of other sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tune_mnist.training.jit import ROOM, cache_folder


def copy_of_the_room(folder: Path) -> Path:
    """The sources that a compiled function may call, in a package's `training/` in `folder`."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(ROOM, folder / "tune_mnist" / "training", ignore=ignored))


def test_a_change_of_any_source_changes_the_folder(tmp_path: Path) -> None:
    room = copy_of_the_room(tmp_path)
    names = [cache_folder(room).name]
    assert names == [cache_folder(ROOM).name]
    sources = sorted(room.rglob("*.py"))
    assert {"jit.py", "batches.py", "steps/kernels.py", "steps/registers.py"} <= {
        path.relative_to(room).as_posix() for path in sources
    }
    for path in sources:
        original = path.read_bytes()
        path.write_bytes(original + b"#")
        names.append(cache_folder(room).name)
        path.write_bytes(original)
        assert cache_folder(room).name == names[0]
    sources[0].rename(room / "renamed.py")
    names.append(cache_folder(room).name)
    assert len(set(names)) == len(sources) + 2


def test_what_moves_from_one_source_to_the_next_changes_the_folder(tmp_path: Path) -> None:
    names = set()
    for number, (first, second) in enumerate([("a = 1\nb = 2\n", ""), ("a = 1\n", "b = 2\n")]):
        room = tmp_path / str(number)
        room.mkdir()
        (room / "a.py").write_text(first)
        (room / "b.py").write_text(second)
        names.add(cache_folder(room).name)
    assert len(names) == 2


def test_what_is_no_source_does_not_change_the_folder(tmp_path: Path) -> None:
    room = copy_of_the_room(tmp_path)
    before = cache_folder(room)
    before.mkdir(parents=True)
    (before / "kernels.train.nbi").write_bytes(b"code")
    (room / "notes.txt").write_text("no source")
    assert cache_folder(room) == before


CALLED = """
from tune_mnist.training.jit import compiled

@compiled
def number():
    return {number}
"""
CALLER = """
from tune_mnist.training.called import number
from tune_mnist.training.jit import compiled

@compiled
def double():
    return 2 * number()
"""
RUN = "from tune_mnist.training.caller import double; print(double(), sum(double.stats.cache_hits.values()))"


@pytest.mark.slow
def test_code_is_kept_for_later_runs_but_not_after_a_change_in_what_it_calls(tmp_path: Path) -> None:
    room = copy_of_the_room(tmp_path)
    (tmp_path / "tune_mnist" / "__init__.py").touch()
    (room / "caller.py").write_text(CALLER)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)

    def double(number: int) -> list[str]:
        """Twice the number that called.py returns, and how often code was found."""
        (room / "called.py").write_text(CALLED.format(number=number))
        done = subprocess.run(
            [sys.executable, "-c", RUN], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert double(1) == ["2", "0"]
    assert double(1) == ["2", "1"]
    assert double(3) == ["6", "0"]
    assert double(1) == ["2", "1"]
