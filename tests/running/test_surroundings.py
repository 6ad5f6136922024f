"""What a run takes of its surroundings: the processors it may use, a home, limits."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tune_mnist.running import surroundings
from tune_mnist.running.surroundings import give_home, raised_limits, usable_processors
from tune_mnist.spec.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this platform")
def test_a_process_held_to_one_processor_uses_one(bare: pytest.MonkeyPatch) -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " \
           "from tune_mnist.running.surroundings import usable_processors; print(usable_processors())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, cwd=ROOT)
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize(("slurm", "used"), [("1", 1), ("3", 3), ("64", 4), ("", 4), ("0", 4), ("many", 4)])
def test_slurms_share_is_not_exceeded(slurm: str, used: int, bare: pytest.MonkeyPatch) -> None:
    bare.setattr("joblib.cpu_count", lambda: 4)
    bare.setenv("SLURM_CPUS_PER_TASK", slurm)
    assert usable_processors() == used


def test_a_quota_of_a_container_counts(bare: pytest.MonkeyPatch) -> None:
    from joblib.externals.loky.backend import context

    bare.setattr(context, "_cpu_count_affinity", lambda count: 96)
    bare.setattr(context, "_cpu_count_cgroup", lambda count: 2)
    bare.setattr(os, "cpu_count", lambda: 96)
    assert usable_processors() == 2


def test_a_home_is_given_only_to_a_user_without_one(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare.setattr(surroundings, "private_folder", lambda: tmp_path)
    bare.setenv("HOME", str(tmp_path / "mine"))
    give_home()
    assert os.environ["HOME"] == str(tmp_path / "mine")
    bare.delenv("HOME")
    bare.setattr("pwd.getpwuid", lambda uid: {}[uid])  # as for a number that no entry has
    give_home()
    assert os.environ["HOME"] == str(tmp_path / "home") and (tmp_path / "home").is_dir()


def test_limits_are_raised_within_the_block_and_told_where_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = resource.RLIMIT_NOFILE
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (1000, before[1]))
    try:
        with raised_limits():
            assert resource.getrlimit(kind) == (before[1], before[1])
        assert resource.getrlimit(kind) == (1000, before[1])
        monkeypatch.setattr(surroundings, "LEAST_FILES", before[1] + 1)
        told = r"at least \d+ open files .* raise the limit \(ulimit -n\)"
        with pytest.raises(UserError, match=told), raised_limits():
            pass
        assert resource.getrlimit(kind) == (1000, before[1])
    finally:
        resource.setrlimit(kind, before)
