"""The README's results come from a study, are the same twice, and leave the rest alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.studies import made_study
from tune_mnist.spec.study import StudySpec
from tune_mnist.tables.of_study import tables_of

SCRIPT = Path(__file__).parents[2] / "experiments" / "readme_results.py"
SPEC = StudySpec(models=("SimpleNN",), lr=(1e-4, 1e-3), batch_size=(16, 64), epochs=(2,))


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True)


def test_the_results_are_filled_in_from_the_study_and_checked(tmp_path: Path) -> None:
    study = made_study(tmp_path / "ray_results" / "mine", SPEC, scored=3)
    readme = tmp_path / "README.md"
    readme.write_text(
        "# Title\n<!-- finding:start -->\n<!-- finding:end -->\n"
        "<!-- results:start -->\noutdated\n<!-- results:end -->\nrest\n"
    )
    assert run(study.folder, "--readme", readme, "--check").returncode == 1
    assert run(study.folder, "--readme", readme).returncode == 0
    text = readme.read_text()
    assert text.startswith("# Title\n") and text.endswith("\nrest\n") and "outdated" not in text
    assert "(ray_results/mine/figures/heatmap_lr_batch_size.png)" in text and str(tmp_path) not in text
    best = tables_of(study).top3.iloc[0]
    assert f"{100 * best['mean']:.2f}%" in text and f"{100 * best['test_accuracy']:.2f}%" in text
    ties = len(tables_of(study).top3) - 3
    assert f"Its finding: with 1 seed of each, {ties} of 4 cells cannot be told from the third best." in text
    assert "| C10: ComplexNN at 15 epochs overfits" in text and "| undecided | undecided |" in text
    assert run(study.folder, "--readme", readme, "--check").returncode == 0


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    study = made_study(tmp_path / "mine", SPEC)
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n")
    done = run(study.folder, "--readme", readme)
    assert done.returncode != 0 and "finding:start" in done.stderr
    assert readme.read_text() == "# Title\n"
