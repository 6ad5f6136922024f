"""Tests of what every command's --help says, that it speaks to users, and that it loads nothing heavy."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tune_mnist.__main__ import COMMANDS
from tune_mnist.spec.training import MODEL_NAMES

PACKAGE = Path(__file__).parents[1] / "tune_mnist"
GROUPS = ("positional arguments", "options", "recipe options", "space options", "resources options", "tracking options")
HEAVY = ("torch", "ray", "pandas", "numpy", "scipy", "matplotlib", "optuna", "pydantic")


@functools.cache
def shown() -> dict[str, str]:
    """What each command's --help prints on 80 columns; all of them in one process, which must load nothing heavy."""
    code = f"""
import importlib, sys
for name in {list(COMMANDS)}:
    assert importlib.import_module(f"tune_mnist.{{name}}").main(["--help"]) == 0
    loaded = set({HEAVY}) & set(sys.modules)
    assert not loaded, f"{{name}} --help imports {{loaded}}"
    print(end="\\0")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, encoding="utf-8", timeout=60,
        env=os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return dict(zip(COMMANDS, done.stdout.split("\0"), strict=False))


@functools.cache
def definitions() -> list[ast.ClassDef | ast.FunctionDef]:
    """Every class and function of the package."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))]


def names_of_code() -> set[str]:
    """The package's modules, and its classes and functions as far as their names are neither words nor a user's."""
    names = {node.name for node in definitions() if re.search(r"_|[a-z][A-Z]", node.name)}
    modules = {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.glob("*/*.py")}
    return (names | modules) - set(MODEL_NAMES)


def docstrings_of_classes() -> set[str]:
    """Their first paragraphs, each on one line."""
    texts = [ast.get_docstring(node) or "" for node in definitions() if isinstance(node, ast.ClassDef)]
    return {" ".join(text.split("\n\n")[0].split()) for text in texts} - {""}


def test_help_loads_nothing_heavy_and_fits_80_columns() -> None:
    for name, text in shown().items():
        assert text.startswith(f"usage: python -m tune_mnist.{name} [-h]")
        boxes = [line for line in text.splitlines() if line.startswith(("╭", "│", "╰"))]
        assert boxes and max(map(len, boxes)) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_help_speaks_to_users(name: str) -> None:
    assert set(re.findall("^╭─ (.*?) ─", shown()[name], flags=re.MULTILINE)) <= set(GROUPS)
    text = " ".join(shown()[name].replace("│", " ").split()).removeprefix(f"usage: python -m tune_mnist.{name} ")
    assert "`" not in text
    assert not set(re.findall(r"[\w.]*\w", text)) & names_of_code()
    assert not [docstring for docstring in docstrings_of_classes() if docstring in text]
