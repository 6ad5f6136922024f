"""Tests of packs as trials: each member's own folder, rows and state, however it was packed and interrupted."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from support.slices import mnist
from tune_mnist.running import runner, trial
from tune_mnist.running.resources import Resources
from tune_mnist.running.runner import PACKS_SIDE_BY_SIDE, packed, score_winners
from tune_mnist.running.trial import (
    OUT_OF_MEMORY,
    PackEpoch,
    on_gpu,
    once_saved,
    packs_of,
    run_members,
    run_pack,
    run_training,
    run_trial,
    side_by_side,
)
from tune_mnist.running.trial_data import TrialData, trial_data
from tune_mnist.running.trial_data import test_pictures as pictures_to_test
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, PlannedTraining, TrainingConfig, training_key, trainings_of, trial_config
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder
from tune_mnist.training.batches import make_pictures
from tune_mnist.training.dataset import training_data
from tune_mnist.training.steps.pack import SLOTS, PackSteps

CONTEXT = Context(protocol="holdout", data_sha256="0" * 64)
SETTINGS = [(1e-3, 0), (1e-2, 1), (1e30, 0)]
PACKS = {
    "on shared batches": [TrainingConfig(model="SimpleNN", lr=lr, batch_size=32) for lr, _ in SETTINGS],
    "in slots": [TrainingConfig(model="SimpleNN", lr=lr, batch_size=32, seed=seed) for lr, seed in SETTINGS],
}


@pytest.fixture(params=list(PACKS.values()), ids=list(PACKS))
def configs(request: pytest.FixtureRequest) -> list[TrainingConfig]:
    """Three trainings that one pack can train, the third of which diverges at once."""
    found: list[TrainingConfig] = request.param
    return found


@pytest.fixture(scope="module")
def data() -> TrialData:
    whole = training_data(mnist(), "holdout")
    train = make_pictures(whole.train_images[:300], whole.train_labels[:300])
    return TrialData(train, make_pictures(whole.eval_images[:100], whole.eval_labels[:100]))


def run(
    folder: Path, data: TrialData, members: Sequence[PlannedTraining], stop_after: int | None = None
) -> list[tuple[int, dict[str, Any]]]:
    folder.mkdir(exist_ok=True)
    folders = [TrainingFolder(folder / training_key(plan.config, CONTEXT)) for plan in members]
    rows = once_saved(run_pack(members, data, CONTEXT, folders))
    return list(itertools.islice(rows, stop_after))


def kept(folder: Path) -> dict[str, bytes]:
    """Every member's history and states."""
    files = [path for path in folder.rglob("*") if path.name == "history.json" or path.name.startswith("state-")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if ".aside-" not in path.name}


def test_every_member_has_its_rows_and_a_diverged_one_ends(
    tmp_path: Path, data: TrialData, configs: list[TrainingConfig]
) -> None:
    rows = run(tmp_path, data, [PlannedTraining(config, (3,)) for config in configs])
    assert [row["epoch"] for k, row in rows if k == 0] == [row["epoch"] for k, row in rows if k == 1] == [1, 2, 3]
    (diverged,) = (row for k, row in rows if k == 2)
    assert diverged["epoch"] == 1 and diverged["train_loss"] is None


@pytest.mark.parametrize("stop_after", range(1, 7))
def test_interrupted_anywhere_and_gone_on_equals_undisturbed(
    tmp_path: Path, data: TrialData, configs: list[TrainingConfig], stop_after: int
) -> None:
    members = [PlannedTraining(config, (3,)) for config in configs]
    run(tmp_path / "whole", data, members)
    run(tmp_path / "cut", data, members, stop_after)
    rows = run(tmp_path / "cut", data, members)
    assert len(rows) == 7  # those of the store come first
    assert kept(tmp_path / "whole") == kept(tmp_path / "cut")


def test_members_join_where_they_stand_whoever_they_are_packed_with(
    tmp_path: Path, data: TrialData, configs: list[TrainingConfig]
) -> None:
    run(tmp_path / "whole", data, [PlannedTraining(config, (3,)) for config in configs])
    run(tmp_path / "parts", data, [PlannedTraining(configs[1], (2,)), PlannedTraining(configs[2], (3,))])
    run(tmp_path / "parts", data, [PlannedTraining(config, (3,)) for config in configs[:2]])
    assert kept(tmp_path / "whole") == kept(tmp_path / "parts")


def test_a_member_far_ahead_goes_on_after_the_one_behind_it_has_diverged(
    tmp_path: Path, data: TrialData, configs: list[TrainingConfig]
) -> None:
    run(tmp_path, data, [PlannedTraining(configs[0], (4,))])
    rows = run(tmp_path, data, [PlannedTraining(configs[2], (5,)), PlannedTraining(configs[0], (5,))])
    assert [(k, row["epoch"]) for k, row in rows] == [(1, 1), (1, 2), (1, 3), (1, 4), (0, 1), (1, 5)]


@pytest.mark.filterwarnings("ignore::tune_mnist.spec.errors.Damaged")
def test_a_state_of_another_model_is_set_aside_and_its_epochs_trained_again(
    tmp_path: Path, data: TrialData, configs: list[TrainingConfig]
) -> None:
    members = [PlannedTraining(config, (3,)) for config in configs[:2]]
    run(tmp_path / "whole", data, members)
    run(tmp_path / "bad", data, [PlannedTraining(config, (2,)) for config in configs[:2]])
    folder = TrainingFolder(tmp_path / "bad" / training_key(configs[1], CONTEXT))
    for path in folder.folder.glob("state-*"):
        path.unlink()
    torch.save({"epoch": 2, "steps": {"weights": torch.zeros(3)}}, tmp_path / "foreign.pt")
    state = (tmp_path / "foreign.pt").read_bytes()
    (folder.folder / folder.states.name(2, state)).write_bytes(state)
    rows = run(tmp_path / "bad", data, members)
    assert any("is not a state of this training" in note for _, row in rows for note in row.get("damage", ()))
    assert kept(tmp_path / "whole") == kept(tmp_path / "bad")


def test_each_epochs_timing_names_its_gpu(
    tmp_path: Path, data: TrialData, configs: list[TrainingConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    assert on_gpu(CONTEXT) == {}
    gpu = on_gpu(replace(CONTEXT, device="cuda"))
    monkeypatch.setattr("tune_mnist.running.trial.on_gpu", lambda context: gpu)
    alone, *together = (PlannedTraining(config, (2,)) for config in configs)
    rows = [row for _, row in run(tmp_path, data, together)]
    rows += run_training(alone, data, CONTEXT, TrainingFolder(tmp_path / training_key(alone.config, CONTEXT)))
    kept_timings = [timing for path in tmp_path.iterdir() for timing in TrainingFolder(path).progress().timings]
    assert len(rows) == len(kept_timings) == 5  # one of the three diverges in its first epoch
    assert {told.get("gpu") for told in rows + kept_timings} == {"NVIDIA H100"}


def test_trainings_on_shared_batches_leave_the_files_that_each_leaves_alone(tmp_path: Path, data: TrialData) -> None:
    plans = [PlannedTraining(config, (2, 3)) for config in PACKS["on shared batches"]]
    rows = run(tmp_path / "together", data, plans)
    for plan in plans:
        (tmp_path / "alone").mkdir(exist_ok=True)
        folder = TrainingFolder(tmp_path / "alone" / training_key(plan.config, CONTEXT))
        assert all("together" not in row for row in run_training(plan, data, CONTEXT, folder))
    assert kept(tmp_path / "together") == kept(tmp_path / "alone")
    assert [row["together"] for _, row in rows] == [3, 3, 3, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("device", "slots", "groups"), [("cuda", 1, 36), ("cpu", 2, 36), ("cpu", 12, 72), ("cpu", 13, 144), ("cpu", 0, 36)]
)
def test_plans_are_grouped_by_what_they_have_in_common_and_each_once(device: str, slots: int, groups: int) -> None:
    plans = StudySpec(seeds=3).trainings()
    found = packed(plans, device, slots)
    assert sorted(map(plans.index, (plan for group in found for plan in group))) == list(range(len(plans)))
    assert len(found) == groups and len({len(group) for group in found}) == 1
    for group in found:
        assert len({(plan.config.model, plan.config.batch_size) for plan in group}) == 1
        assert device == "cuda" or len({plan.config.seed for plan in group}) == 1


def test_what_shares_no_batches_and_what_is_to_be_alone_is_by_itself() -> None:
    plans = StudySpec(models=("SimpleNN", "CNN"), lr=(1.0, 0.1, 0.01), seeds=2).trainings()
    alone = {plans[0].config}
    for group in packed(plans, "cpu", 1, alone):
        assert len(group) == 1 or not any(plan.config in alone or plan.config.model == "CNN" for plan in group)
    assert any(len(group) > 1 for group in packed(plans, "cpu", 1, alone))


def test_a_trials_config_tells_its_trainings(configs: list[TrainingConfig]) -> None:
    plans = [PlannedTraining(config, (2, 5)) for config in configs]
    for some in (plans[:1], plans):
        assert trainings_of(trial_config(some)) == some


def test_the_next_epoch_is_made_while_the_rows_of_one_are_used() -> None:
    begun = [threading.Event() for _ in range(4)]

    def epochs() -> Generator[PackEpoch]:
        for number, event in enumerate(begun[:3]):
            event.set()
            yield PackEpoch([(0, {"epoch": number}), (1, {"epoch": number})], {})
        begun[3].set()
        raise OSError("the disk is full")

    seen = []
    with pytest.raises(OSError, match="the disk is full"):
        for rows, _ in side_by_side([epochs()]):
            seen.append(rows)
            assert begun[len(seen)].wait(10)
            assert not any(event.is_set() for event in begun[len(seen) + 1 :])
    assert [[row["epoch"] for _, row in rows] for rows in seen] == [[0, 0], [1, 1], [2, 2]]


def test_the_rows_of_an_epoch_wait_for_all_that_saves_it() -> None:
    first, second = Future[bool](), Future[bool]()
    saves = {0: first, 1: second}
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(next, once_saved([PackEpoch([(0, {"epoch": 1}), (1, {"epoch": 1})], saves)]))
        first.set_result(True)
        assert not wait([coming], 0.2).done
        second.set_result(True)
        assert coming.result(10) == (0, {"epoch": 1})


def test_no_row_comes_of_an_epoch_that_could_not_be_saved() -> None:
    bad: Future[bool] = Future()
    bad.set_exception(OSError("the disk is full"))
    with pytest.raises(OSError, match="the disk is full"):
        next(once_saved([PackEpoch([(0, {"epoch": 1})], {0: bad})]))


def new_study(folder: Path) -> Study:
    """A new study in the folder."""
    study = Study(folder)
    study.create()
    return study


class Session:
    """Stands in for Tune in a trial: takes its reports, or ends it at the first as Ray ends a trial."""

    def __init__(self, ends: bool = False) -> None:
        self.reports: list[dict[str, Any]] = []
        self.ends = ends

    def get_context(self) -> Any:
        return SimpleNamespace(get_trial_resources=lambda: SimpleNamespace(required_resources={"GPU": 0.5}))

    def report(self, row: dict[str, Any]) -> None:
        self.reports.append(row)
        if self.ends:
            raise SystemExit


@pytest.fixture
def packs(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[PackSteps]]]:
    """Every pack that is made while garbage is not collected."""
    PackSteps(PACKS["in slots"], data.train).train_epoch(1)  # what torch imports then leaves circles
    made: list[weakref.ref[PackSteps]] = []
    make = PackSteps.__init__

    def noted(self: PackSteps, *args: Any, **options: Any) -> None:
        made.append(weakref.ref(self))
        make(self, *args, **options)

    monkeypatch.setattr(PackSteps, "__init__", noted)
    gc.collect()
    gc.disable()
    yield made
    gc.enable()


def test_what_a_share_is_too_small_for_is_reported_and_gone_without_a_collection(
    tmp_path: Path, data: TrialData, packs: list[weakref.ref[PackSteps]], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, train_epoch = Session(), PackSteps.train_epoch

    def short(self: PackSteps, epoch: int, members: Any = None) -> list[float]:
        if epoch == 2:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return train_epoch(self, epoch, members)

    monkeypatch.setattr(PackSteps, "train_epoch", short)
    monkeypatch.setattr(trial, "tune", session)
    config = trial_config([PlannedTraining(config, (3,)) for config in PACKS["in slots"]])
    run_trial(config, data=data, context=CONTEXT, study=new_study(tmp_path))
    assert [row.get("epoch") for row in session.reports] == [1, 1, 1, None]
    assert "CUBLAS_STATUS_ALLOC_FAILED" in session.reports[-1][OUT_OF_MEMORY]
    assert len(packs) == 1 and packs[0]() is None


def test_a_trial_that_is_ended_gives_memory_back_once_its_packs_are_gone(
    tmp_path: Path, data: TrialData, packs: list[weakref.ref[PackSteps]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at a report, while the next epoch is trained by another thread."""
    alive: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(sum(pack() is not None for pack in packs)))
    monkeypatch.setattr(trial, "tune", Session(ends=True))
    config = trial_config([PlannedTraining(config, (3,)) for config in PACKS["in slots"]])
    with pytest.raises(SystemExit, match="^$"):
        run_trial(config, data=data, context=CONTEXT, study=new_study(tmp_path))
    assert len(packs) == 1 and alive == [0]


def test_an_error_of_another_kind_goes_on_to_ray(
    tmp_path: Path, data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: PackSteps, epoch: int, members: Any = None) -> list[float]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(PackSteps, "train_epoch", broken)
    monkeypatch.setattr(trial, "tune", Session())
    config = trial_config([PlannedTraining(config, (3,)) for config in PACKS["in slots"]])
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run_trial(config, data=data, context=CONTEXT, study=new_study(tmp_path))


def test_packs_side_by_side_leave_the_files_that_each_leaves_alone(
    tmp_path: Path, data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [TrainingConfig(model="SimpleNN", lr=lr, batch_size=64, seed=seed) for lr, seed in SETTINGS]
    plans = [PlannedTraining(config, (3,)) for pair in zip(PACKS["in slots"], others, strict=True) for config in pair]
    numbers = [[0, 2, 4], [1, 3, 5]]
    assert packs_of(plans, "cuda") == numbers and packs_of(plans, "cpu") == [[0, 1, 2, 3, 4, 5]]
    for pack in numbers:
        run(tmp_path / "alone", data, [plans[k] for k in pack])
    monkeypatch.setattr(trial, "packs_of", lambda members, device: numbers)
    folder = tmp_path / "together"
    folder.mkdir()
    folders = [TrainingFolder(folder / training_key(plan.config, CONTEXT)) for plan in plans]
    rows = list(run_members(plans, data, CONTEXT, folders))
    for k in range(6):
        assert [row["epoch"] for number, row in rows if number == k] == ([1] if k >= 4 else [1, 2, 3])
    assert kept(folder) == kept(tmp_path / "alone")


def test_where_one_of_the_packs_fails_all_are_closed() -> None:
    closed: list[str] = []

    def epochs(name: str, fails: bool) -> Generator[PackEpoch]:
        try:
            for number in itertools.count():
                if fails and number == 2:
                    raise OSError("the disk is full")
                yield PackEpoch([(0, {"epoch": number})], {})
        finally:
            closed.append(name)

    with pytest.raises(OSError, match="the disk is full"):
        list(side_by_side([epochs("one", True), epochs("other", False)]))
    assert sorted(closed) == ["one", "other"]


@pytest.mark.parametrize(("seeds", "slots", "trials"), [(1, 1, 1), (3, 1, 3), (1, 2, 2), (1, 8, 8), (1, 99, 12)])
def test_on_whole_gpus_packs_train_side_by_side_and_each_gpu_has_some(seeds: int, slots: int, trials: int) -> None:
    plans = StudySpec(seeds=seeds).trainings()
    found = packed(plans, "cuda", slots, whole_gpu=True)
    assert sorted(map(plans.index, (plan for group in found for plan in group))) == list(range(len(plans)))
    packs = [len(packs_of(group, "cuda")) for group in found]
    assert len(found) == trials and max(packs) <= PACKS_SIDE_BY_SIDE and max(packs) - min(packs) <= 1
    assert sum(packs) == -(-len(plans) // SLOTS)
    alone = {plans[5].config}
    assert [plans[5]] in packed(plans, "cuda", slots, alone, whole_gpu=True)


def test_winners_scored_on_a_gpu_share_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default Ray ends a process that used a GPU after each call."""
    options: dict[str, Any] = {}
    scored: list[Any] = []

    def remote(**given: Any) -> Any:
        options.update(given)
        return lambda function: SimpleNamespace(remote=lambda *args: scored.append(args[:2]))

    monkeypatch.setattr(runner, "ray", SimpleNamespace(remote=remote, put=lambda value: None, get=lambda waited: None))
    winners = [(config, 2) for config in PACKS["in slots"]]
    context = Context(protocol="holdout", data_sha256="0" * 64, device="cuda")
    nothing: Any = None
    score_winners(winners, nothing, nothing, context, Study(tmp_path), Resources(gpus_per_trial=1))
    assert scored == winners and options["num_gpus"] == 1 and options["max_calls"] == 0


def test_no_sparse_form_is_made_for_a_gpu() -> None:
    dataset = mnist()
    whole = training_data(dataset, "holdout")
    for device, sparse in (("cpu", True), ("cuda", False)):
        data = trial_data(whole, device)
        every = (data.train, data.evaluation, pictures_to_test(dataset, device))
        assert [pictures.nonzero is not None for pictures in every] == [sparse] * 3
