"""Tests of the search: its trials in a real SQLite file, its command, kills and warm starts on real Ray."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState
from rich.console import Console

from support.idx import random_arrays, write_folder
from support.studies import made_study
from tune_mnist import search
from tune_mnist.searching.backend import open_storage
from tune_mnist.searching.figures import of_one_goal, search_figures
from tune_mnist.searching.tables import pareto_table, trials_table
from tune_mnist.searching.trials import KEY, Asked, Trials
from tune_mnist.searching.warm_start import check_sources, warm_start
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Range, Space
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, Recipe
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress
from tune_mnist.tables.of_study import tables_of

CONTEXT = Context(protocol="holdout", data_sha256=f"{'holdout':0<64}")
SPACE = Space(models=("SimpleNN", "MediumNN"), lr=Range(1e-4, 1e-1), batch_size=(16, 32))
SPEC = SearchSpec(space=SPACE, trials=6, epochs=3, sampler="random")
LISTS = SearchSpec(space=replace(SPACE, lr=(1e-3, 1e-2)), trials=20, epochs=2, sampler="grid")


def opened(folder: Path, spec: SearchSpec = SPEC) -> Trials:
    study = Study(folder / "s")
    study.folder.mkdir(parents=True, exist_ok=True)
    study.create()
    return Trials(study, spec, CONTEXT)


def train(trials: Trials, asked: Asked, epochs: int, accuracy: float | None = None, loss: float | None = 0.5) -> None:
    """Let the training of a trial reach `epochs`, in the store and before Optuna."""
    value = 1 / (2 + abs(math.log10(asked.plan.config.lr) + 3)) if accuracy is None else accuracy
    folder = trials.study.training(asked.key)
    progress = folder.begin(asked.plan.config, CONTEXT)
    for epoch in range(progress.rows[-1]["epoch"] + 1 if progress.rows else 1, epochs + 1):
        metrics = dict.fromkeys(("accuracy", "precision", "recall", "f1"), value * epoch / (epoch + 1))
        row = {"epoch": epoch, "train_loss": loss, "val_loss": 0.5} | {f"val_{n}": v for n, v in metrics.items()}
        progress.rows.append(row | {"val_correct": None})
        progress.timings.append({"epoch": epoch, "train_seconds": 1.0 + asked.plan.config.lr, "eval_seconds": 0.1})
        folder.save(Progress(progress.rows, progress.timings))
        trials.report(asked, epoch, row)


def run_all(trials: Trials) -> int:
    """Run what the store cannot answer to its end; how many that were."""
    count = 0
    while (asked := trials.next()) is not None:
        train(trials, asked, trials.spec.epochs)
        trials.end(asked)
        count += 1
    return count


def states(trials: Trials) -> dict[str, int]:
    return {name: count for name, count in trials.counts().items() if count}


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


def test_ended_trials_are_told_as_what_they_are(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    for epochs, loss in ((3, 0.5), (1, 0.5), (2, None), (0, 0.5)):
        asked = trials.next()
        assert asked is not None
        train(trials, asked, epochs, loss=loss)
        trials.end(asked, failed=epochs == 0)
    found = trials.all()
    assert [t.state.name for t in found] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert [list(t.intermediate_values) for t in found] == [[1, 2, 3], [1], [1, 2], []]
    assert found[0].value == found[0].intermediate_values[3] and found[1].value == found[1].intermediate_values[1]
    assert len(tables_of(trials.study).results) == 4


def test_a_kill_leaves_none_running_and_what_has_epochs_goes_on_as_the_same_trial(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    begun, unbegun = trials.next(), trials.next()
    assert begun is not None and unbegun is not None
    train(trials, begun, 1)
    again = opened(tmp_path)  # as after a kill
    assert states(again) == {"waiting": 1, "fail": 1}
    resumed = again.next()
    assert resumed is not None and resumed.key == begun.key and resumed.trial.number == begun.trial.number
    train(again, resumed, 3)
    again.end(resumed)
    assert list(again.all()[0].intermediate_values) == [1, 2, 3]
    run_all(again)
    assert sum(states(again).values()) == 6 and states(again)["fail"] == 1
    params = [json.dumps(trial.params) for trial in again.all()]
    assert len(set(params)) == 6


def test_more_trials_extend_and_draw_anew(tmp_path: Path) -> None:
    assert run_all(opened(tmp_path)) == 6
    assert opened(tmp_path).next() is None
    more = opened(tmp_path, replace(SPEC, trials=9))
    assert run_all(more) == 3
    assert len({trial.params["lr"] for trial in more.all()}) == 9


def test_a_grid_is_tried_once_each_and_finished_trainings_are_answered_from_the_store(tmp_path: Path) -> None:
    trials = opened(tmp_path, LISTS)
    assert run_all(trials) == 8 and states(trials) == {"complete": 8}
    assert trials.next() is None
    randomly = Trials(trials.study, replace(LISTS, sampler="random", trials=20), CONTEXT)
    assert run_all(randomly) == 0 and states(randomly) == {"complete": 20}
    answered = trials_table(randomly)
    assert (answered["from"] == "store").sum() == 12 and answered["training"].nunique() == 8


def test_a_grid_cut_by_kills_still_tries_each_once(tmp_path: Path) -> None:
    for _ in range(3):
        trials = opened(tmp_path, LISTS)
        assert trials.next() is not None and trials.next() is not None
    trials = opened(tmp_path, LISTS)
    run_all(trials)
    assert states(trials) == {"complete": 8}


def test_a_trial_equal_to_a_running_one_waits_and_gets_its_answer(tmp_path: Path) -> None:
    one = SearchSpec(space=Space(models=("SimpleNN",), lr=(1e-3,), batch_size=(16,)), trials=3, epochs=2)
    trials = opened(tmp_path, one)
    first = trials.next()
    assert first is not None
    assert trials.next() is None and not trials.over() and len(trials.followers) == 1
    train(trials, first, 1)
    trials.end(first)  # stopped early
    assert states(trials) == {"pruned": 2}
    third = trials.next()
    assert third is not None and third.key == first.key
    train(trials, third, 2)
    trials.end(third)
    assert states(trials) == {"pruned": 2, "complete": 1} and trials.over()


def test_a_warm_start_enters_each_training_once_and_trains_none_again(tmp_path: Path) -> None:
    grid = StudySpec(models=("SimpleNN", "ComplexNN"), lr=(1e-3, 1e-2), batch_size=(16,), epochs=(1, 3))
    source = made_study(tmp_path / "grid", grid, pictures=200)
    for _ in range(2):
        trials = opened(tmp_path, SPEC)
        warm_start(trials, check_sources([source.folder], CONTEXT), Console(quiet=True))
        warm = [trial for trial in trials.all() if trial.state == TrialState.COMPLETE]
        assert len(warm) == 2 and {trial.params["model"] for trial in warm} == {"SimpleNN"}
        assert all(list(trial.intermediate_values) == [1, 2, 3] for trial in warm)
    assert states(trials) == {} and run_all(trials) == 6  # they come on top
    assert len(tables_of(trials.study).results) == 8
    shorter = Trials(Study(tmp_path / "s"), SPEC, CONTEXT)
    listed = replace(LISTS, epochs=3, space=replace(LISTS.space, models=("SimpleNN",), batch_size=(16,)))
    fresh = opened(tmp_path / "other", listed)
    warm_start(fresh, [source], Console(quiet=True))
    assert run_all(fresh) == 0 and fresh.over() and len(shorter.all()) == 8


def test_a_warm_start_from_other_data_is_refused(tmp_path: Path) -> None:
    source = made_study(tmp_path / "grid", StudySpec(models=("SimpleNN",), epochs=(1,)), pictures=100)
    with pytest.raises(UserError, match="protocol holdout"):
        check_sources([source.folder], replace(CONTEXT, protocol="report"))


@pytest.mark.parametrize(("changed", "told"), [
    ({"epochs": 4}, "keeps its epochs"),
    ({"objectives": ("val_loss",)}, "keeps its objectives"),
    ({"space": replace(SPACE, dropout=(0.1,))}, "keeps its fixed"),
    ({"space": replace(SPACE, batch_size=(16, 64))}, "keeps its lists of values"),
])
def test_a_search_with_another_purpose_is_refused(changed: dict[str, Any], told: str, tmp_path: Path) -> None:
    run_all(opened(tmp_path))
    with pytest.raises(UserError, match=told):
        opened(tmp_path, replace(SPEC, **changed))
    wider = opened(tmp_path, replace(SPEC, space=replace(SPACE, lr=Range(1e-5, 1e-1)), trials=7))
    assert run_all(wider) == 1


def test_another_folders_search_in_one_database_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    for folder in ("a", "b"):
        study = Study(tmp_path / folder / "s")
        study.folder.mkdir(parents=True)
        study.create()
        if folder == "a":
            Trials(study, SPEC, CONTEXT, url)
        else:
            with pytest.raises(UserError, match="another folder's"):
                Trials(study, SPEC, CONTEXT, url)


@pytest.mark.parametrize("url", ["nonsense", "nodb://x", "sqlite:////nowhere/at/all.db"])
def test_a_storage_that_cannot_be_opened_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match="Optuna storage cannot be opened .*: check --optuna-storage"):
        open_storage(url)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_every_sampler_asks_and_learns(sampler: Any, tmp_path: Path) -> None:
    trials = opened(tmp_path, replace(SPEC, sampler=sampler, trials=12))
    assert run_all(trials) == 12


def test_cmaes_asks_or_names_its_package(tmp_path: Path) -> None:
    spec = replace(SPEC, sampler="cmaes", space=replace(SPACE, dropout=Range(0.0, 0.5)))
    try:
        assert run_all(opened(tmp_path, spec)) == 6
    except UserError as error:
        assert "needs the package cmaes" in str(error)


def test_several_objectives_have_a_front_that_none_beats(tmp_path: Path) -> None:
    spec = replace(SPEC, objectives=("val_accuracy,train_seconds", "parameters"), trials=10)
    assert spec.goals == ("val_accuracy", "train_seconds", "parameters") and spec.stopping == "none"
    trials = opened(tmp_path, spec)
    run_all(trials)
    table = trials_table(trials)
    front = pareto_table(trials, table)
    values = table[list(spec.goals)].to_numpy() * [-1, 1, 1]
    beaten = [any((other <= row).all() and (other < row).any() for other in values) for row in values]
    assert set(front["number"]) == {n for n, lost in zip(table["number"], beaten, strict=True) if not lost}
    assert set(table["parameters"]) == {784 * 128 + 128 + 1290, 784 * 256 + 256 + 256 * 128 + 128 + 1290}
    names = {name for name, _ in search_figures(trials)}
    assert {"pareto_front", "history_val_accuracy", "importances_train_seconds"} <= names


def test_each_goals_figures_are_those_of_a_study_of_it_alone(tmp_path: Path) -> None:
    trials = opened(tmp_path, replace(SPEC, objectives=("val_accuracy,train_seconds",), trials=4))
    run_all(trials)
    assert trials.next() is None
    trials.optuna.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    for number, direction in enumerate(["MAXIMIZE", "MINIMIZE"]):
        alone = of_one_goal(trials, number)
        assert alone.direction.name == direction and len(alone.trials) == 5
        for trial, whole in zip(alone.trials, trials.all(), strict=True):
            assert (trial.number, trial.state, trial.params) == (whole.number, whole.state, whole.params)
            assert trial.values == (whole.values and [whole.values[number]])
    assert all(len(trial.values) == 2 for trial in trials.all()[:4])


def test_the_figures_are_optunas(tmp_path: Path) -> None:
    trials = opened(tmp_path, replace(SPEC, trials=8))
    run_all(trials)
    drawn = dict(search_figures(trials))
    assert drawn.keys() == {
        "history", "edf", "slice", "parallel_coordinate", "contour", "importances", "intermediate_values"
    }
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())


def test_a_resumed_stopping_stops_what_the_uncut_one_would(tmp_path: Path) -> None:
    from tune_mnist.searching.searcher import Past, make_scheduler

    spec = replace(SPEC, epochs=5, trials=9)
    trials = opened(tmp_path, spec)
    for accuracy in (0.9, 0.8, 0.7, 0.6):
        asked = trials.next()
        assert asked is not None
        train(trials, asked, 5, accuracy)
        trials.end(asked)
    for name in ("asha", "median"):
        scheduler: Any = make_scheduler(replace(spec, scheduler=name), trials.courses())
        poor, good = Past("poor"), Past("good")
        for past, value, decision in ((poor, 0.1, "STOP"), (good, 0.95, "CONTINUE")):
            scheduler.on_trial_add(None, past)
            assert scheduler.on_trial_result(None, past, {"epoch": 1, "val_accuracy": value}) == decision


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "tune_mnist.search", "--data", str(folder / "data"), "--models", "SimpleNN", *words]


def check_storage(folder: Path, trials: int) -> list[optuna.trial.FrozenTrial]:
    """None running, exactly `trials` finished, none twice; in plain Optuna."""
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'ray_results/search/optuna.db'}")
    found = study.trials
    assert [trial.number for trial in found] == list(range(trials))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL) for trial in found)
    ended = [trial.user_attrs[KEY] for trial in found if trial.state != TrialState.FAIL]
    assert len(set(ended)) == len(ended)
    return found


@pytest.mark.slow
def test_killed_at_random_and_resumed_it_holds_exactly_the_trials_asked_for(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", random_arrays(train=3000, test=100))
    words = command(tmp_path, "--batch-size", "16", "32", "--epochs", "6", "--trials", "8", "--json")
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(random.uniform(7, 12))
    process.kill()
    process.wait()
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200, env={**os.environ})
    assert done.returncode == 0, done.stderr
    found = check_storage(tmp_path, 8)
    outcome = json.loads(done.stdout)
    assert sum(outcome["trials"].values()) == 8 and len(outcome["top3"]) >= 1
    table = pd.read_csv(tmp_path / "ray_results" / "search" / "trials.csv")
    assert list(table["training"].dropna()) == [t.user_attrs[KEY] for t in found if KEY in t.user_attrs]


@pytest.mark.slow
def test_a_diverged_training_ends_at_once_as_failed_and_a_stopped_one_as_pruned(tmp_path: Path) -> None:
    from tune_mnist.experiment import run_search

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
    assert Recipe() == Recipe(**{name: result.tables.settings[name] for name in ("dropout", "schedule")})
