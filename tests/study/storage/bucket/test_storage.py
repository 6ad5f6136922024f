"""Tests of a study in a bucket: the same rows and bytes as in a folder, whatever is lost or late on the way."""

from __future__ import annotations

import itertools
import pickle
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.faults import FaultyServer, Refusal, Seen
from support.stored import CONFIG, CONTEXT, KEY, OTHER, SPEC, advance, begun, damage, row, state_of, train
from tune_mnist.spec.errors import Damaged, UserError
from tune_mnist.study.look import Look
from tune_mnist.study.storage.bucket import objects, trainings
from tune_mnist.study.storage.bucket.problems import BucketError, NoAnswerError
from tune_mnist.study.storage.bucket.storage import BucketStorage
from tune_mnist.study.storage.folder import FolderStorage
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress, TrainingFolder


@pytest.fixture(autouse=True)
def every_epoch_is_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings, "SHARED_SECONDS", 0.0)
    monkeypatch.setattr(objects, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def held(uri: str) -> Iterator[Study]:
    """A driver's study, held and described."""
    storage = BucketStorage(uri)
    with storage.hold():
        study = Study(storage)
        study.create()
        study.add(SPEC, CONTEXT, {})
        yield study


def on_another_node(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingFolder:
    """The training as a worker on a node of its own has it."""
    node = tmp_path / f"node-{len(list(tmp_path.glob('node-*')))}"
    node.mkdir()
    with monkeypatch.context() as there:
        there.setattr("tempfile.tempdir", str(node))
        storage = pickle.loads(pickle.dumps(study.storage))
        assert storage.folder.is_relative_to(node)
    return Study(storage).training(KEY)


def reader(study: Study) -> Study:
    assert isinstance(study.storage, BucketStorage)
    return Study(BucketStorage(study.storage.bucket.uri))


def names(study: Study, prefix: str = "trainings") -> list[str]:
    assert isinstance(study.storage, BucketStorage)
    return [each.name.removeprefix(f"{prefix}/") for each in study.storage.bucket.list(prefix)]


def epochs_kept(study: Study) -> list[int]:
    return [int(name.split("/")[1][:5]) for name in names(study) if not name.endswith(".json")]


def test_a_training_goes_on_on_a_node_that_has_nothing(
    held: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for last in (1, 2, 5):
        training = on_another_node(held, tmp_path, monkeypatch)
        progress = training.begin(CONFIG, CONTEXT)
        assert progress.rows == [row(epoch) for epoch in range(1, progress.state_epoch + 1)]
        assert progress.state == (state_of(progress.state_epoch) if progress.state_epoch else None)
        advance(training, progress, last)
    seen = reader(held).training(KEY)
    assert seen.record(CONFIG, 5).status == "complete" and seen.progress().rows == [row(epoch) for epoch in range(1, 6)]
    assert seen.progress(with_state=True).state is None  # readers take the rows alone


def test_real_trainings_are_bit_for_bit_those_of_a_folder_however_often_the_node_is_lost(
    held: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Study(tmp_path / "folder")
    folder.folder.mkdir()
    folder.create()
    rows = train(folder.training(KEY))
    for epochs in (1, 2, 3):
        train(on_another_node(held, tmp_path, monkeypatch), epochs)
    held.storage.refresh()
    there, here = folder.training(KEY).folder, held.training(KEY).folder
    for name in ("config.json", "history.json"):
        assert (there / name).read_bytes() == (here / name).read_bytes()
    last = on_another_node(held, tmp_path, monkeypatch)
    assert last.begin(CONFIG, CONTEXT).state == folder.training(KEY).begin(CONFIG, CONTEXT).state
    assert len(rows) == 3 and epochs_kept(held) == [3]


def test_a_worker_that_is_killed_loses_no_epoch_that_was_told(held: Study) -> None:
    training = begun(held.training(KEY), 3)
    shutil.rmtree(training.folder)
    assert training.begin(CONFIG, CONTEXT).state_epoch == 3


def test_short_epochs_share_an_object_and_are_told_once_it_is_kept(
    held: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "SHARED_SECONDS", 1.0)
    ticks = itertools.count(100, 0.4)
    monkeypatch.setattr("tune_mnist.study.storage.bucket.trainings.time.monotonic", lambda: next(ticks))
    training = held.training(KEY)
    told = []
    assert isinstance(held.storage, BucketStorage)
    for each in train(training, 5):
        told.append(each["epoch"])
        assert max(epochs_kept(held)) >= told[-1]
    assert told == [1, 2, 3, 4, 5] and epochs_kept(held) == [5]
    paid = [name for name in names(held) if not name.endswith(".json")]
    assert len(paid) == 1


def test_states_that_are_not_wanted_any_more_are_deleted(held: Study) -> None:
    training = begun(held.training(KEY), 30)
    kept = epochs_kept(held)
    assert kept[-1] == 30 and len(kept) < trainings.KEPT_ARCHIVES + trainings.MOST_STALE
    training.finish(keep=(kept[0],))
    assert epochs_kept(held) == [kept[0], 30]
    training.tidy(30)
    assert epochs_kept(held) == [30]


def test_a_state_of_an_earlier_epoch_is_brought_for_a_score(
    held: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(held.training(KEY), 5)
    elsewhere = on_another_node(held, tmp_path, monkeypatch)
    assert elsewhere.begin(CONFIG, CONTEXT, until=3).state == state_of(3)
    elsewhere.save_score(3, {"test_accuracy": 0.9})
    held.storage.refresh()
    assert held.training(KEY).score(3) == {"test_accuracy": 0.9} == reader(held).training(KEY).score(3)


def test_a_failure_is_kept_and_forgotten_at_the_end(
    held: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.training(KEY).fail("ValueError: no", "Traceback …")
    assert reader(held).training(KEY).record(CONFIG, 2).error == "ValueError: no"
    begun(on_another_node(held, tmp_path, monkeypatch), 2).finish()
    assert reader(held).training(KEY).record(CONFIG, 2).status == "complete" and epochs_kept(held) == [2]
    assert names(held) == [f"{KEY}/{name}" for name in [names(held)[0].split("/")[1]]]


@pytest.mark.parametrize("part", [0.0001, 0.5, 0.999])
def test_a_flipped_byte_in_the_bucket_costs_an_epoch_at_most_and_is_told(
    held: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: float
) -> None:
    begun(held.training(KEY), 3)
    assert isinstance(held.storage, BucketStorage)
    store, newest = held.storage.bucket, f"trainings/{names(held)[-1]}"
    data = bytearray(store.read(newest))
    data[int(part * len(data))] ^= 1
    store.write(newest, bytes(data))
    with pytest.warns(Damaged, match=f"{newest} does not match its checksum: what is older is used, and nothing"):
        progress = on_another_node(held, tmp_path, monkeypatch).begin(CONFIG, CONTEXT)
    assert progress.state == state_of(2) and progress.rows == [row(1), row(2)]
    assert list(reader(held).storage.damaged()) == []  # nothing seen yet
    looked = reader(held)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Damaged)
        looked.storage.refresh_all()
    assert list(looked.storage.damaged()) == [f"{newest} does not match its checksum"]


def test_a_byte_that_changes_on_the_way_is_asked_for_again(
    held: Study, faults: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(held.training(KEY), 2)
    elsewhere = on_another_node(held, tmp_path, monkeypatch)
    faults.plan = [None, "flip"]  # the listing, and then the object
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert elsewhere.begin(CONFIG, CONTEXT).state_epoch == 2


def test_a_listing_that_is_late_loses_nothing_that_was_told(
    held: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(held.storage, BucketStorage)
    store, late = held.storage.bucket, held.storage.bucket.list()
    begun(on_another_node(held, tmp_path, monkeypatch), 3).finish()
    held.storage.saved(KEY, 3)
    real, waited = store.list, list[float]()
    monkeypatch.setattr(store, "list", lambda prefix="": late if len(waited) < 5 else real(prefix))
    monkeypatch.setattr("tune_mnist.study.storage.bucket.storage.time.sleep", waited.append)
    held.storage.refresh()
    assert len(waited) == 5 and held.training(KEY).record(CONFIG, 3).status == "complete"
    held.storage.saved(KEY, 4)
    clock = itertools.count(0, 20.0)
    monkeypatch.setattr("tune_mnist.study.storage.bucket.storage.time.monotonic", lambda: next(clock))
    with pytest.raises(BucketError, match=f"trainings/{KEY}/ does not show what was written 60 s ago: wait, then run"):
        held.storage.refresh()


def test_what_a_driver_writes_bears_its_lease_and_the_highest_counts(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = BucketStorage(uri), BucketStorage(uri)
    with first.hold():
        study = Study(first)
        study.create()
        study.add(SPEC, CONTEXT, {"run": 1})
        monkeypatch.setattr("tune_mnist.study.storage.bucket.lease.Lease.lives", lambda *args: False)
        with second.hold():
            other = Study(second)
            other.add(OTHER, CONTEXT, {"run": 2})
            first.versions.write("study.json", b"by one that was stopped on its way to the store", first.generation)
            assert Study(BucketStorage(uri)).specs() == [SPEC, OTHER]
        first.lease._sure_until = first.lease._sure_until._replace(unset=0)
        before = first.bucket.list()
        for write in (lambda: study.add(OTHER, CONTEXT), lambda: study.training(KEY).fail("no", "no")):
            with pytest.raises(UserError, match="another run took study mine over .*: it goes on there"):
                write()
        assert first.bucket.list() == before


def test_a_damaged_version_is_told_and_the_one_before_it_used(held: Study) -> None:
    held.add(OTHER, CONTEXT)
    assert isinstance(held.storage, BucketStorage)
    newest = held.storage.bucket.list("versions/study.json")[-1].name
    held.storage.bucket.write(newest, held.storage.bucket.read(newest)[:-3] + b"xyz")
    with pytest.warns(Damaged, match="versions/study.json/.* does not match its checksum: the version before it is"):
        assert reader(held).specs() == [SPEC]


def test_a_fresh_start_moves_the_old_study_aside_also_if_it_is_killed_on_the_way(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BucketStorage(uri).hold(fresh=True) as aside:
        assert aside is None  # nothing was there
    with (storage := BucketStorage(uri)).hold():
        study = Study(storage)
        study.add(SPEC, CONTEXT, {})
        begun(study.training(KEY), 2)
    copy, copied = objects.Bucket.copy, []

    def killed(self: Any, name: str, new: str) -> None:
        if "versions" in name:
            raise KeyboardInterrupt
        copied.append(name)
        copy(self, name, new)

    monkeypatch.setattr(objects.Bucket, "copy", killed)
    with pytest.raises(KeyboardInterrupt), BucketStorage(uri).hold(fresh=True):
        pass
    monkeypatch.setattr(objects.Bucket, "copy", copy)
    with (storage := BucketStorage(uri)).hold(fresh=True) as aside:
        assert aside is not None and aside.name == "mine.aside-1" and copied
        assert {each.name.partition("/")[0] for each in storage.bucket.list()} == {"lease"}
    old = Study(BucketStorage(f"{uri}.aside-1"))
    assert old.specs() == [SPEC] and old.training(KEY).record(CONFIG, 2).status == "complete"


def test_what_is_no_study_is_refused_and_left_alone(uri: str) -> None:
    objects.Bucket(uri).write("thesis.csv", b"mine")
    for refuse in (BucketStorage(uri).refuse, lambda: BucketStorage(uri).hold().__enter__()):
        with pytest.raises(UserError, match=f"^{uri} is not empty and not a study: choose another --name$"):
            refuse()
    assert [each.name for each in objects.Bucket(uri).list()] == ["thesis.csv"]


def test_a_missing_bucket_is_no_new_study_for_driver_or_reader(faults: FaultyServer) -> None:
    for ask in (
        lambda: BucketStorage("s3://nowhere/mine").hold().__enter__(), BucketStorage("s3://nowhere/mine").refuse,
        lambda: Study(BucketStorage("s3://nowhere/mine")).describe(),
        lambda: Look(Study(BucketStorage("s3://nowhere/mine")))(),
    ):
        with pytest.raises(BucketError, match="^no bucket nowhere: make it or change --storage$"):
            ask()
    study = Study(BucketStorage("s3://nowhere/mine"))
    for _ in range(2):  # nor is it one when asked again
        with pytest.raises(BucketError, match="^no bucket nowhere"):
            study.describe()


def test_there_is_no_study_where_nothing_is(uri: str) -> None:
    with pytest.raises(UserError, match=f"^{uri} is not a study: name a folder that holds a study.json"):
        Study(BucketStorage(uri)).describe()


def test_a_look_reads_what_changed_and_tells_who_runs(held: Study, faults: FaultyServer) -> None:
    look = Look(reader(held))
    assert look().state == "running" and look().progress.done_epochs == 0
    begun(held.training(KEY), 2)
    status = look()
    assert status.progress.done_epochs == 2 and status.trainings["begun"] == 1
    assert status.idle_seconds is not None and status.idle_seconds < 60
    faults.seen.clear()
    look()
    assert len([seen for seen in faults.seen if "/trainings/" in seen.path.partition("?")[0]]) == 0


def test_a_writer_whose_store_is_gone_says_so_and_the_same_goes_on(held: Study, faults: FaultyServer) -> None:
    training = begun(held.training(KEY), 2)
    assert isinstance(held.storage, BucketStorage)
    progress = training.begin(CONFIG, CONTEXT)
    held.storage.bucket.patience_seconds = 0.3
    faults.rule = lambda seen: Refusal(503, "SlowDown")
    with pytest.raises(NoAnswerError, match=f"^cannot write .*/trainings/{KEY}/00003-.*: no answer from {faults.url}"):
        advance(training, progress, 3)
    faults.rule = lambda seen: None
    again = training.begin(CONFIG, CONTEXT)
    assert again.rows == [row(1), row(2), row(3)] and epochs_kept(held)[-1] == 3


def test_files_are_mirrored_and_brought_and_what_is_gone_here_is_gone_there(held: Study, tmp_path: Path) -> None:
    best = held.folder / "best"
    (best / "checkpoints").mkdir(parents=True)
    for number in range(3):
        (best / "checkpoints" / f"step-{number}").write_text(f"{number}")
    held.storage.mirror(best)
    (best / "checkpoints" / "step-0").unlink()
    (best / "checkpoints" / "step-1").write_text("more")
    (held.folder / "best-seed-1").mkdir()
    (held.folder / "best-seed-1" / "model.pt").write_text("weights")
    held.storage.mirror(best)
    held.storage.mirror(held.folder / "best-seed-1")
    other = reader(held)
    other.storage.bring(other.folder / "best")
    files = [path for path in other.folder.glob("best*/**/*") if path.is_file()]
    assert {str(path.relative_to(other.folder)): path.read_text() for path in files} == {
        "best/checkpoints/step-1": "more", "best/checkpoints/step-2": "2", "best-seed-1/model.pt": "weights",
    }


def test_a_begun_study_costs_few_requests(held: Study, faults: FaultyServer) -> None:
    """Those that cost as a write does: of each training one listing and one write an epoch."""
    faults.seen.clear()
    begun(held.training(KEY), 5).finish()
    kinds = [seen.method if not seen.is_list else "LIST" for seen in faults.seen]
    assert kinds.count("LIST") == 1 and kinds.count("PUT") == 5 and faults.paid() == 6


def test_the_progress_of_another_training_is_not_mixed_in(held: Study) -> None:
    assert Progress().rows == [] and Seen("GET", "/x?list-type=2").is_list
    begun(held.training(KEY), 1)
    damage(held.training(KEY).folder / "history.json")
    with pytest.warns(Damaged, match="history.json does not match its checksum"):
        held.training(KEY).progress()
    assert held.training(KEY).begin(CONFIG, CONTEXT).rows == [row(1)]  # the bucket has it


def test_a_trainings_working_copy_is_not_fsynced_as_the_bucket_keeps_it(
    held: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    train(held.training(KEY))
    assert not synced and names(held)
    folder = Study(FolderStorage(tmp_path / "study"))
    (tmp_path / "study").mkdir()
    folder.create()
    train(folder.training(KEY))
    assert synced
