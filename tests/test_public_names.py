"""Tests of `import tune_mnist as tm`: every public name loads, but none before it is used; types and README agree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tune_mnist as tm

ROOT = Path(__file__).parents[1]
SNIPPET = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)[0]


@pytest.mark.parametrize("name", tm._MODULES)
def test_every_public_name_loads_and_is_listed(name: str) -> None:
    value = getattr(tm, name)
    assert (value.__name__, value.__module__) == (name, f"tune_mnist.{tm._MODULES[name]}")
    assert name in dir(tm)


def test_type_checkers_are_told_the_same_names() -> None:
    imports = [node for node in ast.walk(ast.parse(Path(tm.__file__).read_text(encoding="utf-8")))
               if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tune_mnist.")]
    told = {alias.asname: str(node.module).removeprefix("tune_mnist.") for node in imports for alias in node.names}
    assert told == tm._MODULES


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="`tune_mnist` has no `run_gird`: there are .*, run_grid, .*, run_search"):
        tm.run_gird  # type: ignore[attr-defined]  # noqa: B018


def test_the_import_alone_loads_nothing_heavy() -> None:
    code = "import sys, tune_mnist; print({'torch', 'ray', 'pandas', 'numpy'} & {*sys.modules}, tune_mnist.__version__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"set() {tm.__version__}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(("code", "told"), [
    (SNIPPET, "Success: no issues found"),
    (SNIPPET.replace("run_grid", "run_gird"), 'Module has no attribute "run_gird"'),
    (SNIPPET.replace("name=", "nam="), 'Unexpected keyword argument "nam" for "run_grid"'),
])
def test_the_readme_s_snippet_is_typed(code: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(tmp_path / "snippet.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert told in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_the_readme_s_snippet_runs(tmp_path: Path) -> None:
    (tmp_path / "ray_results").mkdir()
    (tmp_path / "ray_results" / "holdout").symlink_to(ROOT / "ray_results" / "holdout")
    fewer = SNIPPET.replace("epochs=(2, 5)", "lr=(1e-3,), batch_size=(64, 128), epochs=(1, 2)")
    code = f"{fewer}\nassert len(result.tables.results) == 4 and len(result.result_grid) == 2"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
