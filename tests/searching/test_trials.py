"""Tests of a search's trials in a real SQLite file: ended as what they are, resumed after kills, answered once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.searches import CONTEXT, LISTS, SPACE, SPEC, opened, run_all, states, train
from support.specs import changed
from tune_mnist.searching.tables import trials_table
from tune_mnist.searching.trials import KEY, Trials
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Range, Space
from tune_mnist.study.storage.bucket.storage import BucketStorage
from tune_mnist.study.study import Study
from tune_mnist.tables.of_study import tables_of


def test_ended_trials_are_told_as_what_they_are(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    for epochs, loss in ((3, 0.5), (1, 0.5), (2, None), (0, 0.5)):
        begun = trials.next()
        assert begun is not None
        train(trials, begun, epochs, loss=loss)
        trials.end(begun, failed=epochs == 0)
    found = trials.all()
    assert [t.state.name for t in found] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert [list(t.intermediate_values) for t in found] == [[1, 2, 3], [1], [1, 2], []]
    assert found[0].value == found[0].intermediate_values[3] and found[1].value == found[1].intermediate_values[1]
    assert len(tables_of(trials.study).results) == 4


def test_a_kill_leaves_none_running_and_what_had_begun_goes_on_as_the_same_trial(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    begun, unbegun = trials.next(), trials.next()
    assert begun is not None and unbegun is not None
    train(trials, begun, 1)
    again = opened(tmp_path)  # as after a kill
    assert states(again) == {"waiting": 2}
    resumed = again.next()
    assert resumed is not None and resumed.key == begun.key and resumed.trial.number == begun.trial.number
    train(again, resumed, 3)
    again.end(resumed)
    assert list(again.all()[0].intermediate_values) == [1, 2, 3]
    run_all(again)
    assert states(again) == {"complete": 6}
    assert again.all()[1].user_attrs[KEY] == unbegun.key
    params = [json.dumps(trial.params) for trial in again.all()]
    assert len(set(params)) == 6


def test_a_search_in_a_bucket_goes_on_from_its_snapshot_on_another_node(uri: str) -> None:
    with (storage := BucketStorage(uri)).hold():
        (study := Study(storage)).create()
        trials = Trials(study, SPEC, CONTEXT)
        study.add(None, CONTEXT, {})
        first, begun = trials.next(), trials.next()
        assert first is not None and begun is not None
        train(trials, first, 3)
        trials.end(first)
        train(trials, begun, 1)
    with (storage := BucketStorage(uri)).hold():  # as after a kill: the working copy is gone
        assert not (storage.folder / "ray").exists()
        again = Trials(Study(storage), SPEC, CONTEXT)
        assert states(again) == {"complete": 1, "waiting": 1}
        resumed = again.next()
        assert resumed is not None and resumed.key == begun.key and resumed.trial.number == begun.trial.number
        train(again, resumed, 3)
        again.end(resumed)
        assert run_all(again) == 4 and states(again) == {"complete": 6}
    assert len(tables_of(Study(BucketStorage(uri))).results) == 6


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


@pytest.mark.parametrize(("changed", "told"), [
    ({"epochs": 4}, "keeps its epochs"),
    ({"objectives": ("val_loss",)}, "keeps its objectives"),
    ({"space": changed(SPACE, dropout=(0.1,))}, "keeps its fixed"),
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
