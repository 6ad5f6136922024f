"""Seeds that are added: to what is in contention alone, until it is decided, the same however often it is stopped."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from support.specs import CONTEXT
from support.studies import ABOUT, made_records, made_study
from tune_mnist.grid_experiment import missing_by_rounds
from tune_mnist.reporting.publish import write_results
from tune_mnist.running.watching.status_view import json_of, lines
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig, training_key
from tune_mnist.study.look import Look
from tune_mnist.study.rounds import in_words
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress
from tune_mnist.tables.contention import level_of
from tune_mnist.tables.of_study import tables_of

SPEC = StudySpec(models=("SimpleNN",), lr=(1e-4, 1e-3, 1e-2), batch_size=(16, 64), epochs=(2,), seeds="auto:5")
SIMULATIONS = Path(__file__).parents[2] / "experiments" / "simulations.py"


def noisy(config: TrainingConfig, error: float) -> float:
    """An accuracy with this error, which another seed changes by some 8% of itself."""
    chance = np.random.default_rng([config.seed, round(1e5 * config.lr), config.batch_size])
    return 1 - error * float(np.exp(0.08 * chance.normal()))


def clear(config: TrainingConfig, epoch: int) -> float:
    """Three cells are far better than the others."""
    return noisy(config, 0.02 if config.batch_size == 16 else 0.2)


def tied(config: TrainingConfig, epoch: int) -> float:
    """Five cells are equally good, and one is far worse."""
    return noisy(config, 0.2 if (config.lr, config.batch_size) == (1e-2, 64) else 0.02)


def seeds_of(study: Study) -> dict[tuple[float, int], int]:
    """How many seeds are planned, by learning rate and batch size."""
    tables = tables_of(study).summary
    return {(row.lr, row.batch_size): row.seeds for row in tables.itertuples()}


@pytest.mark.parametrize("most", [3, 4, 10, 64])
def test_all_looks_together_spend_5_percent(most: int) -> None:
    levels = [level_of(seeds, 3, most) for seeds in range(3, most + 1)]
    assert sum(levels) == pytest.approx(0.05) and min(levels) > 0 and levels[1:] == sorted(levels[1:])


def test_what_is_clear_is_decided_with_the_first_seeds(tmp_path: Path) -> None:
    study = made_study(tmp_path / "clear", SPEC, clear)
    ((spec, (only,)),) = study.rounds()
    assert spec == SPEC and only.decided and (only.seeds, only.cells, only.in_contention, only.added) == (3, 6, 3, ())
    assert set(seeds_of(study).values()) == {3} and len(study.planned()) == 18


def test_ties_get_every_seed_and_what_is_far_worse_none(tmp_path: Path) -> None:
    study = made_study(tmp_path / "tied", SPEC, tied)
    ((_, rounds),) = study.rounds()
    assert [each.seeds for each in rounds] == [3, 4, 5] and not rounds[-1].decided
    assert [each.in_contention for each in rounds] == [5] * 3 and [len(each.added) for each in rounds] == [5, 5, 0]
    assert seeds_of(study) == {(lr, size): 5 for lr in SPEC.lr for size in SPEC.batch_size} | {(1e-2, 64): 3}


def test_the_top_three_s_table_is_what_was_in_contention_at_the_last_look(tmp_path: Path) -> None:
    for accuracy in (clear, tied):
        study = made_study(tmp_path / accuracy.__name__, SPEC, accuracy)
        ((_, rounds),) = study.rounds()
        tables = tables_of(study)
        assert len(tables.top3) == rounds[-1].in_contention
        assert (tables.summary["n"] == tables.summary["seeds"]).all() and "Kim and DeMets" in tables.method
    assert "3 to 5 seeds: " in tables.method


@pytest.mark.parametrize("stop_after", [1, 18, 19, 24])
def test_a_study_stopped_and_resumed_has_the_same_rounds_and_tables(stop_after: int, tmp_path: Path) -> None:
    undisturbed = made_study(tmp_path / "a", SPEC, tied, context=CONTEXT)
    study = Study(tmp_path / "b")
    study.folder.mkdir()
    study.create()
    for trainings in (stop_after, 1, 1000):
        study.add(SPEC, CONTEXT, ABOUT)
        train(study, trainings)
    assert study.rounds() == undisturbed.rounds() and study.planned() == undisturbed.planned()
    for name in ("results", "summary", "top3"):
        assert getattr(tables_of(study), name).equals(getattr(tables_of(undisturbed), name))


def train(study: Study, at_most: int) -> None:
    """Go on with the study's rounds as a run does that is killed after so many trainings."""
    for plans in missing_by_rounds(study, SPEC, CONTEXT, Console(quiet=True)):
        for record in made_records(SPEC, tied, plans=plans):
            if not at_most:
                return
            at_most -= 1
            study.training(training_key(record.config, CONTEXT)).begin(record.config, CONTEXT)
            study.training(training_key(record.config, CONTEXT)).save(Progress(list(record.epochs)))


def test_what_else_the_study_holds_does_not_change_the_rounds(tmp_path: Path) -> None:
    alone = made_study(tmp_path / "a", SPEC, tied, context=CONTEXT)
    more = made_study(tmp_path / "b", replace(SPEC, seeds=4, lr=(1e-4, 0.5)), tied, context=CONTEXT)
    made_study(tmp_path / "b", SPEC, tied, context=CONTEXT)
    assert more.rounds() == alone.rounds()
    assert len(more.planned()) == len(alone.planned()) + 2 * 4


def test_a_lost_record_of_the_rounds_is_made_again(tmp_path: Path) -> None:
    study = made_study(tmp_path / "a", SPEC, tied)
    before, planned = study.rounds(), study.planned()
    (study.folder / "study.json").unlink()
    made_study(tmp_path / "a", SPEC, tied)
    assert (study.rounds(), study.planned()) == (before, planned)


def test_page_and_status_say_what_was_done(tmp_path: Path) -> None:
    study = made_study(tmp_path / "tied", SPEC, tied)
    said = (
        "--seeds auto:5 adds seeds to the cells that may still change the top three: with 3 seeds 5 of 6 cells were in "
        "contention; with 4 seeds 5 of 6 cells were in contention; with "
        "5 seeds 5 of 6 cells were in contention: the top three are undecided at the most seeds. 28 trainings were "
        "asked for, of 30 with 5 each."
    )
    ((spec, rounds),) = study.rounds()
    assert in_words(spec, rounds) == said
    *_, page = write_results(study, tables_of(study))
    text = page.read_text()
    assert said in text and "6 cells with 3 to 5 seeds each" in text and "--seeds auto:5" in text
    status = Look(study)()
    assert said in list(lines(status)) and status.state == "done"
    (told,) = json_of(status)["rounds"]
    assert told["seeds"] == "auto:5" and len(told["rounds"]) == 3
    assert "not complete yet" in in_words(spec, []) and "not decided yet" in in_words(spec, rounds[:1])


def test_no_tie_is_told_apart_more_often_than_5_percent_and_seeds_are_saved() -> None:
    spec: Any = importlib.util.spec_from_file_location("made_simulations", SIMULATIONS)
    simulations = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulations)
    chance = np.random.default_rng(0)
    studies = [simulations.auto(chance, tied, "mild", False, 5) for tied in [0, 10] * 12]
    means = {name: np.mean([study[name] for study in studies]) for name in studies[0]}
    assert means["family error"] <= 3 / 24  # at 5%, more than 3 of 24 come once in 100 times
    assert means["power"] > 0.9 and means["decided early"] > 0.2 and means["share of the seeds"] < 0.8
