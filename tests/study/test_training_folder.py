"""Tests of a training's folder: what is on disk is checked, and all that a resume needs."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from support.stored import (
    CONFIG,
    CONTEXT,
    KEY,
    advance,
    begun,
    damage,
    data,
    row,
    state_of,
    states,
    timing,
    train,
    tree,
)
from tune_mnist.running.scoring import score_training
from tune_mnist.running.trial import run_training
from tune_mnist.spec.training import PlannedTraining
from tune_mnist.study.files import read_json
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import KEPT_STATES, Progress, TrainingFolder, TrainingRecord, diverged
from tune_mnist.training.packing import finite_or_none


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(tmp_path / "study")
    made.folder.mkdir()
    made.create()
    return made


@pytest.fixture
def folder(study: Study) -> TrainingFolder:
    return study.training(KEY)


def test_a_new_training_starts_from_nothing_and_is_described(folder: TrainingFolder) -> None:
    assert folder.begin(CONFIG, CONTEXT) == Progress()
    content = read_json(folder.folder / "config.json")
    assert content == {"config": CONFIG.content(), "context": dataclasses.asdict(CONTEXT)}
    assert folder.record(CONFIG, 1) == TrainingRecord(KEY, CONFIG, "unfinished")


def test_what_was_saved_is_read_back(folder: TrainingFolder) -> None:
    begun(folder, 3)
    progress = folder.begin(CONFIG, CONTEXT)
    assert progress.rows == [row(1), row(2), row(3)] and progress.timings == [timing(1), timing(2), timing(3)]
    assert progress.state == state_of(3) and progress.state_epoch == 3
    assert folder.progress().rows == progress.rows and folder.progress().state is None


def test_only_the_newest_states_are_kept_and_one_when_finished(folder: TrainingFolder) -> None:
    progress = folder.begin(CONFIG, CONTEXT)
    for epoch in range(1, 8):
        advance(folder, progress, epoch)
        assert sorted(states(folder)) == list(range(max(1, epoch + 1 - KEPT_STATES), epoch + 1))
    folder.finish()
    assert list(states(folder)) == [7]
    assert folder.begin(CONFIG, CONTEXT).state == state_of(7)


def test_the_states_of_smaller_budgets_are_kept_until_tidied(folder: TrainingFolder) -> None:
    plan = PlannedTraining(CONFIG, (1, 3, 6))
    list(run_training(plan, data(), CONTEXT, folder))
    assert sorted(states(folder)) == [1, 3, 6]
    at_three = folder.progress(with_state=True, until=4)
    assert (at_three.state_epoch, len(at_three.rows)) == (3, 6)
    alone = TrainingFolder(folder.folder.parent.parent / "alone" / KEY)
    alone.folder.parent.mkdir()
    train(alone, 3)
    assert at_three.state == alone.progress(with_state=True).state
    folder.tidy(7)
    assert sorted(states(folder)) == [1, 3, 6]  # it may still be going on
    folder.tidy(6)
    assert list(states(folder)) == [6]


def test_no_more_states_are_kept_than_those_of_the_three_largest_budgets(folder: TrainingFolder) -> None:
    list(run_training(PlannedTraining(CONFIG, (6, 1, 2, 3, 5, 4)), data(), CONTEXT, folder))
    assert sorted(states(folder)) == [4, 5, 6]


def test_a_diverged_trainings_states_are_tidied_too(folder: TrainingFolder) -> None:
    progress = begun(folder, 2).begin(CONFIG, CONTEXT)
    progress.add(row(3) | {"val_loss": None}, timing(3), state_of(3))
    folder.save(progress, (1, 2, 3))
    assert sorted(states(folder)) == [1, 2, 3]
    folder.tidy(6)
    assert list(states(folder)) == [3]


def test_a_score_is_the_same_from_a_kept_state_from_an_earlier_one_and_from_the_start(folder: TrainingFolder) -> None:
    list(run_training(PlannedTraining(CONFIG, (1, 2, 4)), data(), CONTEXT, folder))
    test, study = data().evaluation, Study(folder.folder.parents[2])
    scores = []
    for epoch in (2, 1):  # dropped one after the other
        score_training(CONFIG, 2, data(), test, CONTEXT, study)
        scores.append(folder.score(2))
        states(folder)[epoch].unlink()
    score_training(CONFIG, 2, data(), test, CONTEXT, study)
    assert scores == [folder.score(2)] * 2 and list(states(folder)) == [4]


def test_the_status_follows_rows_failures_and_divergence(folder: TrainingFolder) -> None:
    assert folder.record(CONFIG, 3).status == "unfinished"
    folder.fail("ValueError: no", "Traceback …")
    failed = folder.record(CONFIG, 3)
    assert (failed.status, failed.error, failed.epochs) == ("failed", "ValueError: no", ())
    begun(folder, 2)
    assert folder.record(CONFIG, 2).status == "complete" and folder.record(CONFIG, 2).error is None
    assert folder.record(CONFIG, 3).status == "failed" and len(folder.record(CONFIG, 3).epochs) == 2
    folder.finish()
    assert folder.record(CONFIG, 3).status == "unfinished" and folder.record(CONFIG, 1).status == "complete"
    progress = folder.begin(CONFIG, CONTEXT)
    progress.add(row(3) | {"val_loss": None}, timing(3), state_of(3))
    folder.save(progress)
    assert folder.record(CONFIG, 3).status == folder.record(CONFIG, 15).status == "diverged"


def test_divergence_is_a_loss_that_json_lacks() -> None:
    assert finite_or_none(0.5) == 0.5
    assert [finite_or_none(float(text)) for text in ("nan", "inf", "-inf")] == [None] * 3
    assert not diverged([]) and not diverged([row(1)]) and not diverged([row(1) | {"train_loss": None}, row(2)])
    assert diverged([row(1), row(2) | {"train_loss": None}]) and diverged([row(1) | {"val_loss": None}])


def test_damaged_states_fall_back_to_the_one_before_then_to_none(folder: TrainingFolder) -> None:
    begun(folder, 3)
    for newest, left in ((3, 2), (2, 0)):
        path = states(folder)[newest]
        damage(path)
        with pytest.warns(UserWarning, match=f"training {KEY}: {path.name} does not match its checksum; kept as"):
            progress = folder.begin(CONFIG, CONTEXT)
        assert progress.state_epoch == left and progress.state == (state_of(left) if left else None)
        assert progress.rows == [row(1), row(2), row(3)]
        assert not path.exists() and path.with_name(f"{path.name}.aside-1").exists()
    assert folder.begin(CONFIG, CONTEXT) == progress  # told only once


@pytest.mark.parametrize("change", [lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:-1])])
def test_a_truncated_state_is_damaged(change: Any, folder: TrainingFolder) -> None:
    begun(folder, 2)
    change(states(folder)[2])
    with pytest.warns(UserWarning, match="state-00002-.* does not match its checksum"):
        assert folder.begin(CONFIG, CONTEXT).state_epoch == 1


def test_rows_beyond_the_state_stand_until_computed_again(folder: TrainingFolder) -> None:
    begun(folder, 4)
    states(folder)[4].unlink()
    progress = folder.begin(CONFIG, CONTEXT)
    assert progress.state_epoch == 3 and len(progress.rows) == 4
    assert folder.record(CONFIG, 4).status == "complete"
    states(folder)[3].unlink()
    progress = folder.begin(CONFIG, CONTEXT)
    assert progress.state_epoch == 0 and len(progress.rows) == 4
    for epoch in range(1, 6):
        progress.add(row(epoch, loss=0.25), timing(epoch), state_of(epoch))
        folder.save(progress)
        expected = [row(e, loss=0.25 if e <= epoch else 0.5) for e in range(1, max(4, epoch) + 1)]
        assert folder.progress().rows == expected
        assert [told["epoch"] for told in folder.progress().timings] == list(range(1, max(4, epoch) + 1))


@pytest.mark.parametrize("name", ["history.json", "timings.json", "config.json", "failure.json"])
def test_a_damaged_file_is_set_aside_named_and_forgotten(name: str, folder: TrainingFolder) -> None:
    begun(folder, 2)
    folder.fail("ValueError: no", "Traceback …")
    content = (folder.folder / name).read_bytes()
    for number in (1, 2):
        (folder.folder / name).write_bytes(content)
        damage(folder.folder / name)
        with pytest.warns(UserWarning, match=rf"training {KEY}: {name} does not match .* {name}\.aside-{number}"):
            folder.begin(CONFIG, CONTEXT)
            record = folder.record(CONFIG, 2)
        assert (folder.folder / f"{name}.aside-{number}").exists()
        assert (len(record.epochs), record.status) == ((0, "failed") if name == "history.json" else (2, "complete"))
        assert len(record.timings) == (0 if name == "timings.json" else 2)


def test_states_that_outlived_their_rows_do_not_displace_new_ones(folder: TrainingFolder) -> None:
    begun(folder, 5)
    (folder.folder / "history.json").unlink()
    progress = folder.begin(CONFIG, CONTEXT)
    assert progress.state_epoch == 0 and progress.rows == []
    for epoch in (1, 2, 3):
        advance(folder, progress, epoch)
        again = folder.begin(CONFIG, CONTEXT)
        assert (again.state_epoch, again.state) == (epoch, state_of(epoch))


def test_files_of_another_training_count_as_damaged(study: Study) -> None:
    mine, other = begun(study.training(KEY), 3), begun(study.training("0" * 16), 3)
    shutil.copy(other.folder / "history.json", mine.folder / "history.json")
    with pytest.warns(UserWarning, match=f"training {KEY}: history.json belongs to training 0{{16}}"):
        assert mine.begin(CONFIG, CONTEXT).rows == []
    begun(mine, 3)
    for path in states(mine).values():
        path.unlink()
    for path in states(other).values():
        shutil.copy(path, mine.folder)
    with pytest.warns(UserWarning, match="does not match its checksum"):
        assert mine.begin(CONFIG, CONTEXT).state is None


def test_leftovers_of_a_killed_writer_are_removed(folder: TrainingFolder) -> None:
    begun(folder, 1)
    (folder.folder / ".history.json.01234567.tmp").write_bytes(b"half")
    folder.begin(CONFIG, CONTEXT)
    assert not list(folder.folder.glob(".*"))


def test_reading_makes_nothing(study: Study) -> None:
    before = tree(study.folder)
    assert study.training(KEY).record(CONFIG, 3).status == "unfinished"
    assert study.training(KEY).progress(with_state=True) == Progress()
    assert tree(study.folder) == before and not study.training(KEY).folder.exists()


def test_a_run_yields_what_it_saves_and_a_second_run_only_reads(folder: TrainingFolder) -> None:
    rows = train(folder)
    assert [told["epoch"] for told in rows] == [1, 2, 3]
    record = folder.record(CONFIG, 3)
    pairs = zip(record.epochs, record.timings, strict=True)
    assert record.status == "complete" and [{**a, **b} for a, b in pairs] == rows
    before = tree(folder.folder)
    assert train(folder) == rows and tree(folder.folder) == before
    longer = train(folder, 5)
    assert longer[:3] == rows and [told["epoch"] for told in longer] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["history.json", "timings.json", "config.json", "state", "both states"])
@pytest.mark.parametrize("delete", [True, False], ids=["deleted", "damaged"])
def test_whatever_is_lost_is_computed_again_to_the_same_bytes(name: str, delete: bool, tmp_path: Path) -> None:
    whole, other = TrainingFolder(tmp_path / "a" / KEY), TrainingFolder(tmp_path / "b" / KEY)
    for one in (whole, other):
        one.folder.parent.mkdir()
        rows = run_training(PlannedTraining(CONFIG, (4,)), data(), CONTEXT, one)
        assert [next(rows)["epoch"], next(rows)["epoch"]] == [1, 2]
    train(whole, 4)
    newest = sorted(other.folder.glob("state-*"), reverse=True)
    for path in {"state": newest[:1], "both states": newest}.get(name, [other.folder / name]):
        path.unlink() if delete else damage(path)
    told = [row.get("damage", []) for row in train(other, 4)]
    assert [len(damage) for damage in told] == [0 if delete else 2 if name == "both states" else 1, 0, 0, 0]
    assert all(KEY in damage and "kept as" in damage for damage in told[0])
    assert states(other).keys() == states(whole).keys()
    for path in [whole.folder / "history.json", whole.folder / "config.json", *states(whole).values()]:
        assert (other.folder / path.name).read_bytes() == path.read_bytes()


def test_a_diverged_training_ends_there_and_is_not_run_again(folder: TrainingFolder) -> None:
    config = dataclasses.replace(CONFIG, model="MediumNN", lr=1e30)
    rows = train(folder, 3, config)
    assert len(rows) < 3 and diverged([rows[-1]]) and folder.record(config, 3).status == "diverged"
    before = tree(folder.folder)
    assert train(folder, 3, config) == rows and tree(folder.folder) == before
    for path in states(folder).values():
        path.unlink()
    assert train(folder, 3, config) == rows and folder.record(config, 3).status == "diverged"


class Hostile:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_planted_state_is_never_executed_and_the_training_goes_on_without_it(
    folder: TrainingFolder, tmp_path: Path
) -> None:
    rows = train(folder, 3)
    progress = folder.begin(CONFIG, CONTEXT)
    buffer = io.BytesIO()
    torch.save({"epoch": 3, "steps": Hostile(tmp_path / "touched")}, buffer)
    for path in states(folder).values():
        path.unlink()
    progress.state = buffer.getvalue()
    folder.save(progress)  # as the store names it, so that its checksum holds
    try:
        again = train(folder, 4)
        assert "state-00003-" in again[0]["damage"][0] and "kept as" in again[0]["damage"][0]
        assert [told["val_loss"] for told in again[:3]] == [told["val_loss"] for told in rows] and len(again) == 4
    finally:
        assert not (tmp_path / "touched").exists()
