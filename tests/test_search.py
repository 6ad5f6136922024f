"""The search command end to end: real Ray, real Optuna."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState
from rich.console import Console

from support.idx import random_arrays, write_folder
from tune_mnist import search
from tune_mnist.search_experiment import run_search
from tune_mnist.searching.trials import KEY
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Space
from tune_mnist.spec.training import Recipe
from tune_mnist.study.look import Look
from tune_mnist.study.study import Study


@pytest.mark.parametrize(("words", "told"), [
    (["--lr", "1e-1:1e-4"], "low <= high"),
    (["--lr", "{'grid_search': [1e-3]}"], "has no grid_search"),
    (["--lr", "0:1e-2"], "0 < lr"),
    (["--lr", "1e-3:1e-2", "1e-1"], "LOW:HIGH alone"),
    (["--dropout", "0:1"], "0 <= dropout < 1"),
    (["--batch-size", "16", "16"], "no value twice"),
    (["--sampler", "best"], "'best'"),
    (["--scheduler", "hyperband"], "'hyperband'"),
    (["--objectives", "accuracy"], "did you mean val_accuracy"),
    (["--objectives", "val_accuracy,parameters", "--scheduler", "asha"], "--scheduler none"),
    (["--sampler", "grid"], "no ranges"),
    (["--sampler", "cmaes"], "two ranges"),
    (["--models", "SimplNN"], "did you mean SimpleNN"),
    (["--learning", "0.1"], "unknown flag"),
    (["--trials", "0"], "trials >= 1"),
    (["--batch-size", "60000"], "batch_size <= 50000"),
    (["--warm-start", "nowhere"], "nowhere is not a study"),
    (["--name", "../up"], "name matches"),
    (["--optuna-storage", "nonsense"], "check --optuna-storage"),
    (["--optuna-storage", "nodb://x"], "check --optuna-storage"),
    (["--optuna-storage", "postgresql://me:secret@127.0.0.1:1/x"], "check --optuna-storage"),
])
def test_bad_flags_are_one_line_and_write_nothing(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert search.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and told in error
    assert not list(tmp_path.iterdir())


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "tune_mnist.search", "--data", str(folder / "data"), "--models", "SimpleNN", *words]


def stored(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'ray_results/search/optuna.db'}")


def check_storage(folder: Path, trials: int) -> list[optuna.trial.FrozenTrial]:
    """None running, exactly `trials` finished, none twice; in plain Optuna."""
    found = stored(folder).trials
    assert [trial.number for trial in found] == list(range(trials))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL) for trial in found)
    ended = [trial.user_attrs[KEY] for trial in found if trial.state != TrialState.FAIL]
    assert len(set(ended)) == len(ended)
    return found


@pytest.mark.slow
def test_killed_at_random_and_resumed_it_holds_exactly_the_trials_asked_for(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", random_arrays(train=6000, test=100))
    words = command(tmp_path, "--batch-size", "16", "32", "--epochs", "6", "--trials", "8", "--json")
    begun = random.randint(1, 4)
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(tmp_path.glob("ray_results/*/trainings/**/history.json"))) < begun:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL  # so it was in the middle of its trials
    assert any(trial.state == TrialState.RUNNING for trial in stored(tmp_path).trials)
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200, env={**os.environ})
    assert done.returncode == 0, done.stderr
    found = check_storage(tmp_path, 8)
    outcome = json.loads(done.stdout)
    assert sum(outcome["trials"].values()) == 8 and len(outcome["top3"]) >= 1
    assert TrialState.FAIL not in {trial.state for trial in found}  # the kill cost none
    assert Look(Study(tmp_path / "ray_results" / "search"))().state == "done"
    table = pd.read_csv(tmp_path / "ray_results" / "search" / "trials.csv")
    assert list(table["training"].dropna()) == [t.user_attrs[KEY] for t in found if KEY in t.user_attrs]


@pytest.mark.slow
def test_a_diverged_training_ends_at_once_as_failed_and_a_stopped_one_as_pruned(tmp_path: Path) -> None:

    data = write_folder(tmp_path / "data", random_arrays(train=2000, test=100))
    spec = SearchSpec(
        space=Space(models=("SimpleNN",), lr=(1e-6, 3e-6, 1e-5, 3e-5, 1e-3, 1e38), batch_size=(64,)), epochs=6,
        trials=6, sampler="grid", data=data,
    )
    result = run_search(spec, storage=tmp_path / "ray_results", console=Console(quiet=True))
    found = {trial.params["lr"]: trial for trial in check_storage(tmp_path, 6)}
    assert found[1e38].state == TrialState.FAIL and len(found[1e38].intermediate_values) <= 1
    assert found[1e-3].state == TrialState.COMPLETE and len(found[1e-3].intermediate_values) == 6
    pruned = [trial for trial in found.values() if trial.state == TrialState.PRUNED]
    assert pruned and all(0 < len(trial.intermediate_values) < 6 for trial in pruned)
    assert result.tables.top3.iloc[0]["lr"] == 1e-3
    look = Look(Study(result.folder))()
    assert look.state == "done" and look.trainings["stopped early"] == len(pruned)
    assert set(result.trials["state"]) == {"failed", "complete", "stopped early"}
    page = (result.folder / "report.html").read_text()
    assert ">stopped early</td>" in page and "python -m tune_mnist.search " in page and 'id="search"' in page
    assert result.tables.settings.items() >= asdict(Recipe()).items()
