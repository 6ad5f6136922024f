"""Tests that a study survives a kill at each of its writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_kill_at_any_write_leaves_old_or_new_files_and_the_resume_ends_in_the_same_bytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "kills.py", tmp_path], capture_output=True, text=True,
        timeout=200, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
