"""Tests of `python -m tune_mnist.data`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.idx import random_arrays, write_folder
from tune_mnist.data import main
from tune_mnist.training.dataset import describe, load_dataset


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, figure = write_folder(tmp_path / "fake", random_arrays()), tmp_path / "ten.png"
    assert main(["--data", str(folder), "--figure", str(figure), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == describe(load_dataset(folder=folder)) | {"figure": str(figure)}
    assert facts["class_counts"]["training"] == [25] * 10 and facts["class_counts"]["validation"] == [5] * 10
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert main(["--data", str(folder), "--figure", str(figure)]) == 0
    table = capsys.readouterr().out
    assert facts["sha256"]["holdout"] in table and re.search(r"total\W+250\W+50\W+300\W+60\b", table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fake", "ten.png"]


@pytest.mark.parametrize(
    ("figure", "problem"),
    [("ten.xyz", "figure ends in one of"), ("no/ten.png", "No such file or directory"), ("fake", "figure ends in one")],
)
def test_a_figure_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: str, problem: str
) -> None:
    folder = write_folder(tmp_path / "fake", random_arrays())
    assert main(["--data", str(folder), "--figure", str(tmp_path / figure)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and problem in err
    assert [path.name for path in tmp_path.iterdir()] == ["fake"]


def test_importing_the_data_needs_no_torch() -> None:
    code = "import sys, tune_mnist.data; print({'torch', 'ray', 'sklearn', 'matplotlib', 'tyro'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
