"""Tests of the runner's rounds without Ray: what becomes of trainings whose trials end early."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from rich.console import Console

from tune_mnist.running import runner
from tune_mnist.running.resources import Resources
from tune_mnist.running.runner import OutOfMemory, cost_order, run_trainings
from tune_mnist.running.supervisor import ACTOR_DIED, LOW_ON_MEMORY, Watch
from tune_mnist.running.trial import OUT_OF_MEMORY
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, PlannedTraining, TrainingConfig, trial_config
from tune_mnist.study.study import Study

CONTEXT = Context(protocol="holdout", data_sha256="ab" * 32)
SPEC = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2, 1e-1, 1.0), batch_size=(32,), epochs=(1,))
PLANS = sorted(SPEC.trainings(), key=cost_order)
A, B, C, D = (plan.config for plan in PLANS)
KILLED = "OutOfMemoryError: Ray ended its worker because the machine ran out of memory"


class Trials:
    """A round's trials as Tune tells the watch of them, one of each group of trainings given."""

    def __init__(self, watch: Watch, folder: Path) -> None:
        self.watch, self.folder, self.count = watch, folder, 0

    def start(self, *configs: TrainingConfig) -> Any:
        self.count += 1
        actor = SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda number=self.count: f"actor{number}"))
        trial = _Trial(trial_config([PlannedTraining(config, (1,)) for config in configs]), self.folder / "error.txt")
        trial.temporary_state = SimpleNamespace(ray_actor=actor)
        self.watch.on_trial_start(0, [], trial)
        return trial

    def finish(self, *configs: TrainingConfig) -> None:
        trial = self.start(*configs)
        for member in range(len(configs)):
            self.report(trial, member)
        self.watch.on_trial_complete(0, [], trial)

    def report(self, trial: Any, member: int) -> None:
        self.watch.on_trial_result(0, [], trial, {"member": member, "epoch": 1, "val_accuracy": 0.9})

    def starve(self, config: TrainingConfig) -> None:
        """The worker says that its share of the GPU's memory was too small."""
        trial = self.start(config)
        self.watch.on_trial_result(0, [], trial, {OUT_OF_MEMORY: "Traceback\ntorch.OutOfMemoryError: CUDA is full"})
        self.watch.on_trial_complete(0, [], trial)

    def fail(self, *configs: TrainingConfig, text: str = "ValueError: bad", finished: Collection[int] = ()) -> None:
        """The trial fails for good, those of its trainings that are numbered being `finished`."""
        trial = self.start(*configs)
        for member in finished:
            self.report(trial, member)
        trial.error_file.write_text(f"Failure # 1 (occurred at x)\n{text}\n")
        self.watch.on_trial_error(0, [], trial)

    def crowd(self, *configs: TrainingConfig) -> None:
        """Ray killed the worker for want of memory as often as Tune tries."""
        self.fail(*configs, text=f"{ACTOR_DIED} unexpectedly.\nIts worker was killed {LOW_ON_MEMORY}.")


class _Trial:
    def __init__(self, config: dict[str, Any], error_file: Path) -> None:
        self.config, self.error_file = config, error_file
        self.temporary_state: Any = None


Round = Callable[[Trials], object]


class Run:
    """`run_trainings` on rounds that are told, not run: what each round was given, the lines told, the study left."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, resources: Resources, *rounds: Round) -> None:
        (folder / "study").mkdir()
        self.study = Study(folder / "study")
        self.study.create()
        self.rounds: list[tuple[list[TrainingConfig], float, int | None, set[TrainingConfig]]] = []
        coming = iter(rounds)

        def fit(
            trainable: Any, plans: list[PlannedTraining], watch: Watch, tracking: Any, at_once: int | None,
            alone: Collection[TrainingConfig], classes: int,
        ) -> Any:
            self.rounds.append(
                ([plan.config for plan in plans], watch.resources.gpus_per_trial, at_once, set(alone))
            )
            next(coming)(Trials(watch, folder))
            return len(self.rounds)

        monkeypatch.setattr(runner, "_fit", fit)
        monkeypatch.setattr(tune, "with_parameters", lambda *args, **kwargs: None)
        out = io.StringIO()
        console = Console(file=out, width=300)
        data: Any = SimpleNamespace(train=SimpleNamespace(classes=10))
        self.results: Any = run_trainings(PLANS, data, CONTEXT, self.study, resources, console)
        self.lines = out.getvalue().splitlines()[:-1]  # the last is the summary
        assert next(coming, None) is None, "a round was not run"

    def errors(self) -> dict[TrainingConfig, str]:
        records = list(self.study.records(PLANS, CONTEXT))
        return {record.config: str(record.error) for record in records if record.status == "failed"}


def told(*actions: Round, then: Exception | None = None) -> Round:
    """A round in which these things happen one after the other, and which then ends, or raises."""

    def play(trials: Trials) -> None:
        for action in actions:
            action(trials)
        if then is not None:
            raise then

    return play


def finish(*configs: TrainingConfig) -> Round:
    """Each of these trainings is a trial that ends well."""

    def play(trials: Trials) -> None:
        for config in configs:
            trials.finish(config)

    return play


def test_nothing_to_retry_is_one_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, monkeypatch, Resources(), told(finish(A, B, C, D)))
    assert run.rounds == [([A, B, C, D], 0.0, None, set())]
    assert run.lines == [] and run.errors() == {} and run.results == 1


def test_what_ran_out_of_its_share_of_a_gpu_gets_twice_it_in_later_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starve = [lambda trials, config=config: trials.starve(config) for config in (A, B)]
    run = Run(
        tmp_path, monkeypatch, Resources(gpus_per_trial=0.3),
        told(*starve, finish(C, D)), told(starve[0], finish(B)), told(starve[0]), told(starve[0]),
    )
    assert run.rounds == [
        ([A, B, C, D], 0.3, None, set()), ([A, B], 0.6, None, set()), ([A], 1.0, None, set()), ([A], 1.0, None, {A}),
    ]
    error = "OutOfMemoryError: CUDA is full"
    assert run.lines == [
        f"{A.label}: {error}: trying again with 0.6 of a GPU", f"{B.label}: {error}: trying again with 0.6 of a GPU",
        f"{A.label}: {error}: trying again with 1 of a GPU",
        f"{A.label}: {error}: trying again with 1 of a GPU, alone",
    ]
    assert run.errors() == {A: error}


def test_more_than_one_kind_of_gpu_does_not_go_unnoticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(trials: Trials) -> None:
        for config, gpu in ((A, "NVIDIA H100"), (B, "NVIDIA H100"), (C, "NVIDIA A100"), (D, "NVIDIA H100")):
            trial = trials.start(config)
            row = {"member": 0, "epoch": 1, "val_accuracy": 0.9, "gpu": gpu}
            trials.watch.on_trial_result(0, [], trial, row)
            trials.watch.on_trial_complete(0, [], trial)

    run = Run(tmp_path, monkeypatch, Resources(gpus_per_trial=1), told(train))
    kinds = "NVIDIA A100 and NVIDIA H100"
    assert run.lines == [f"warning: trained on {kinds}: the same training differs between them by rounding"]


def test_a_failed_trial_of_several_is_tried_again_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(
        tmp_path, monkeypatch, Resources(),
        told(lambda trials: trials.fail(A, B, C, finished=[1]), finish(D)),
        told(lambda trials: trials.fail(A), finish(C)),
    )
    assert run.rounds == [([A, B, C, D], 0.0, None, set()), ([A, C], 0.0, None, {A, C})]
    assert run.lines == [f"{A.label}+2: ValueError: bad: trying again one by one"]
    assert run.errors() == {A: "ValueError: bad"}


def test_a_training_that_fails_by_itself_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, monkeypatch, Resources(), told(lambda trials: trials.fail(A), finish(B, C, D)))
    assert len(run.rounds) == 1 and run.lines == [] and run.errors() == {A: "ValueError: bad"}


def test_victims_of_want_of_memory_come_last_one_at_a_time_and_fail_after_so_many_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(
        tmp_path, monkeypatch, Resources(max_failures=1),
        told(lambda trials: trials.crowd(A), lambda trials: trials.fail(B, C), finish(D)),
        told(finish(B, C)), told(lambda trials: trials.crowd(A)),
    )
    assert run.rounds == [
        ([A, B, C, D], 0.0, None, set()), ([B, C], 0.0, None, {A, B, C}), ([A], 0.0, 1, {A, B, C}),
    ]
    assert run.lines == [
        f"{B.label}+1: ValueError: bad: trying again one by one", f"{A.label}: {KILLED}: trying again later, alone",
    ]
    assert run.errors() == {A: KILLED}
    failure = next(run.study.folder.glob("trainings/**/failure.json")).read_text()
    assert LOW_ON_MEMORY in failure


def test_a_run_that_ray_ends_goes_on_with_the_killed_worker_s_trainings_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OutOfMemory("Selected to kill: (Actor(actor2) and more")
    run = Run(
        tmp_path, monkeypatch, Resources(),
        told(finish(A), lambda trials: trials.start(B, C), lambda trials: trials.start(D), then=error),
        told(finish(D)), told(finish(B, C)),
    )
    assert run.rounds == [
        ([A, B, C, D], 0.0, None, set()), ([D], 0.0, None, {B, C}), ([B, C], 0.0, 1, {B, C}),
    ]
    assert run.lines == [f"{config.label}: {KILLED}: trying again later, alone" for config in (B, C)]


@pytest.mark.parametrize(("running", "killed"), [((A, B), [B]), ((), [B, C, D])])
def test_where_ray_names_no_worker_all_that_ran_may_be_meant(
    running: tuple[TrainingConfig, ...], killed: list[TrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(trials: Trials) -> None:
        if running:
            trials.report(trials.start(*running), 0)  # of whose trainings one has ended
        else:
            trials.finish(A)
        raise OutOfMemory("a worker ran out of memory")

    others = [config for config in (B, C, D) if config not in killed]
    rounds = ([told(finish(*others))] if others else []) + [told(finish(*killed))]
    run = Run(tmp_path, monkeypatch, Resources(), die, *rounds)
    assert run.rounds[-1] == (killed, 0.0, 1, set(killed)) and run.errors() == {}
    assert run.lines == [f"{config.label}: {KILLED}: trying again later, alone" for config in killed]


def test_a_killed_training_that_fails_for_good_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die = told(lambda trials: trials.start(A), then=OutOfMemory("Selected to kill: (Actor(actor1)"))
    run = Run(tmp_path, monkeypatch, Resources(max_failures=0), die, told(finish(B, C, D)))
    assert run.errors() == {A: KILLED} and run.lines == []
    assert [plans for plans, *_ in run.rounds] == [[A, B, C, D], [B, C, D]]
