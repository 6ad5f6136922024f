"""Test that what the CNN's recipe says of its parts is what the committed trainings say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def test_the_recipe_s_table_is_that_of_its_trainings() -> None:
    command = [sys.executable, str(EXPERIMENTS / "cnn_ablation.py"), "--table"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 5
    told = (EXPERIMENTS / "cnn_best.toml").read_text(encoding="utf-8")
    for line in lines:
        assert f"#   {line}\n" in told, line
